"""The forms of ResizeConv2D that TensorFlow computes fastest on CPUs.

All give what nearest-neighbour ×2 resize and a 3 × 3 "same" convolution give, to
rounding; gradients are written out, as those TensorFlow derives take twice as long.

Notation, per dimension: taps w0 w1 w2, input x[i] (0 outside the image), output y[o]
with y[2i] = w0 x[i-1] + (w1 + w2) x[i] and y[2i+1] = (w0 + w1) x[i] + w2 x[i+1].
"""

import numpy as np
import tensorflow as tf

# Taps to the factors of the three products: their sum, the first, the last.
_FACTORS = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1]], "float32")
_FACTORS_2D = np.kron(_FACTORS, _FACTORS)
# Taps to the two 2-tap kernels of even and odd outputs.
_PHASES = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], "float32")
# Taps to the stride-2 transposed convolution, which reaches y[2i-1] … y[2i+2].
_FOLD = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], "float32")
_FOLD_2D = np.kron(_FOLD, _FOLD)


def winograd_factors(kernel):
    """The kernel's share of the products of `winograd_resize_conv`.

    Args:
        kernel: [3, 3, C, F].

    Returns:
        Four tensors, [C, F], [C, 2F], [C, 2F] and [C, 4F], of the kernel's dtype.
    """
    c, f = kernel.shape[2:]
    taps = tf.reshape(kernel, [9, c * f])
    u = tf.unstack(tf.reshape(tf.matmul(_FACTORS_2D, taps), [9, c, f]))
    # One matrix for the products that share an input.
    return tuple(
        tf.concat([u[i] for i in group], axis=-1)
        for group in ((0,), (1, 2), (3, 6), (4, 5, 7, 8))
    )


def winograd_resize_conv(x, kernel, prepared=None):
    """Resize and convolve with 9 products an input pixel instead of 16 or 36.

    With d[i] = x[i-1] - x[i] and s = w0 + w1 + w2,
    y[2i] = w0 d[i] + s x[i] and y[2i+1] = s x[i] - w2 d[i+1]: three products where the
    definition has four; in two dimensions 9 where the transposed convolution has 16
    and the two steps 36. The idea is that of the minimal filtering algorithms
    (Winograd 1980; Lavin & Gray 2016). No factor but 1 and -1 appears, so rounding is
    like that of the definition.

    Args:
        x: [N, H, W, C], with H, W and C known.
        kernel: float32 [3, 3, C, F].
        prepared: `winograd_factors(kernel)` where they are known already; there are no
            gradients then.

    Returns:
        [N, 2H, 2W, F], of x's dtype.
    """
    if prepared is not None:
        factors = [tf.cast(u, x.dtype) for u in prepared]
        return _combine(
            [_product(d, u) for d, u in zip(_parts(x), factors, strict=True)]
        )

    @tf.custom_gradient
    def resize_conv(x, kernel):
        factors = [tf.cast(u, x.dtype) for u in winograd_factors(kernel)]
        y = _combine([_product(d, u) for d, u in zip(_parts(x), factors, strict=True)])

        def gradients(dy):
            shares = _combine_transposed(dy)
            # Made anew: kept, they would hold the memory of three more inputs. The
            # dependency stops TensorFlow from keeping them after all.
            with tf.control_dependencies([dy]):
                parts = _parts(tf.identity(x))
            dx = _parts_transposed(
                [
                    _product(g, u, transpose=True)
                    for g, u in zip(shares, factors, strict=True)
                ]
            )
            return dx, _kernel_gradient(parts, shares, kernel.shape)

        return y, gradients

    return resize_conv(x, tf.convert_to_tensor(kernel))


def _parts(x):
    """x and its differences along W, along H and along both, borders included."""
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    along_h = padded[:, :-1] - padded[:, 1:]  # [N, H+1, W+2, C]
    inner = padded[:, 1:-1]
    return (
        x,
        inner[:, :, :-1] - inner[:, :, 1:],  # [N, H, W+1, C]
        along_h[:, :, 1:-1],  # [N, H+1, W, C]
        along_h[:, :, :-1] - along_h[:, :, 1:],  # [N, H+1, W+1, C]
    )


def _parts_transposed(parts):
    x, along_w, along_h, along_both = parts
    along_h = along_h + along_both[:, :, 1:] - along_both[:, :, :-1]
    return (
        x
        + (along_w[:, :, 1:] - along_w[:, :, :-1])
        + (along_h[:, 1:] - along_h[:, :-1])
    )


def _combine(products):
    """[N, 2H, 2W, F] from the products of the four parts."""
    centre, along_w, along_h, along_both = products
    left, right = tf.split(along_w, 2, axis=-1)
    upper, lower = tf.split(along_h, 2, axis=-1)
    d00, d01, d10, d11 = tf.split(along_both, 4, axis=-1)
    left, right = left[:, :, :-1], right[:, :, 1:]
    even = centre + upper[:, :-1]
    odd = centre - lower[:, 1:]
    return _interleave(
        even + (left + d00[:, :-1, :-1]),
        even - (right + d01[:, :-1, 1:]),
        odd + (left - d10[:, 1:, :-1]),
        odd - (right - d11[:, 1:, 1:]),
    )


def _combine_transposed(dy):
    even, odd = _deinterleave(dy)
    (g00, g01), (g10, g11) = even, odd
    g0, g1 = g00 + g10, g01 + g11  # over the rows
    return (
        g0 + g1,
        tf.concat([_pad(g0, 0, 0, 0, 1), _pad(-g1, 0, 0, 1, 0)], axis=-1),
        tf.concat([_pad(g00 + g01, 0, 1, 0, 0), _pad(-g10 - g11, 1, 0, 0, 0)], axis=-1),
        tf.concat(
            [
                _pad(g00, 0, 1, 0, 1),
                _pad(-g01, 0, 1, 1, 0),
                _pad(-g10, 1, 0, 0, 1),
                _pad(g11, 1, 0, 1, 0),
            ],
            axis=-1,
        ),
    )


def _kernel_gradient(parts, shares, shape):
    c, f = shape[2:]
    centre, along_w, along_h, along_both = (
        tf.cast(tf.matmul(_rows(d), _rows(g), transpose_a=True), tf.float32)
        for d, g in zip(parts, shares, strict=True)
    )
    w0, w2 = tf.split(along_w, 2, axis=-1)
    h0, h2 = tf.split(along_h, 2, axis=-1)
    d00, d02, d20, d22 = tf.split(along_both, 4, axis=-1)
    du = tf.stack([centre, w0, w2, h0, d00, d02, h2, d20, d22])
    taps = tf.matmul(_FACTORS_2D, tf.reshape(du, [9, c * f]), transpose_a=True)
    return tf.reshape(taps, [3, 3, c, f])


def subpixel_kernel(kernel):
    """The kernel of `subpixel_resize_conv`: [3, 3, C, F] to [2, 2, C, 4F]."""
    c, f = kernel.shape[2:]
    phases = np.einsum("auh,bvw->uvabhw", _PHASES, _PHASES).reshape(16, 9)
    taps = tf.matmul(phases, tf.reshape(kernel, [9, c * f]))
    taps = tf.reshape(taps, [2, 2, 4, c, f])
    return tf.reshape(tf.transpose(taps, [0, 1, 3, 2, 4]), [2, 2, c, 4 * f])


def subpixel_resize_conv(x, kernel, prepared=None):
    """Resize and convolve as one convolution to 4F channels, then depth to space.

    For few filters, where a transposed convolution is slow. Its gradients are those of
    the transposed convolution, which are convolutions and are not.

    Args:
        x: [N, H, W, C], with H, W and C known.
        kernel: float32 [3, 3, C, F].
        prepared: (`subpixel_kernel(kernel)`,) where it is known already; there are no
            gradients then.

    Returns:
        [N, 2H, 2W, F], of x's dtype.
    """

    def forward(x, folded):
        _, h, w, _ = x.shape
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        y = tf.nn.conv2d(padded, tf.cast(folded, x.dtype), 1, "VALID")
        p00, p01, p10, p11 = tf.split(y, 4, axis=-1)
        return _interleave(
            p00[:, :h, :w], p01[:, :h, 1:], p10[:, 1:, :w], p11[:, 1:, 1:]
        )

    if prepared is not None:
        return forward(x, prepared[0])

    @tf.custom_gradient
    def resize_conv(x, kernel):
        def gradients(dy):
            c, f = kernel.shape[2:]
            transposed = tf.cast(fold_kernel(kernel), dy.dtype)
            dx = tf.nn.conv2d(dy, transposed, 2, "SAME")
            d_folded = tf.raw_ops.Conv2DBackpropFilter(
                input=dy,
                filter_sizes=[4, 4, f, c],
                out_backprop=x,
                strides=[1, 2, 2, 1],
                padding="SAME",
            )
            d_folded = tf.transpose(tf.cast(d_folded, tf.float32), [0, 1, 3, 2])
            taps = tf.matmul(
                _FOLD_2D, tf.reshape(d_folded, [16, c * f]), transpose_a=True
            )
            return dx, tf.reshape(taps, [3, 3, c, f])

        return forward(x, subpixel_kernel(kernel)), gradients

    return resize_conv(x, tf.convert_to_tensor(kernel))


def fold_kernel(kernel):
    """[3, 3, C, F] to the [4, 4, F, C] of a stride-2 "same" transposed convolution."""
    c, f = kernel.shape[2:]
    folded = tf.matmul(_FOLD_2D, tf.reshape(kernel, [9, c * f]))
    return tf.transpose(tf.reshape(folded, [4, 4, c, f]), [0, 1, 3, 2])


def _rows(x):
    return tf.reshape(x, [-1, x.shape[-1]])


def _product(x, matrix, transpose=False):
    product = tf.matmul(_rows(x), matrix, transpose_b=transpose)
    return tf.reshape(product, [-1, x.shape[1], x.shape[2], product.shape[-1]])


def _interleave(p00, p01, p10, p11):
    """[N, 2H, 2W, F] from the pixels at even and odd rows and columns."""
    _, h, w, f = p00.shape
    even = tf.reshape(tf.concat([p00, p01], axis=-1), [-1, h, 2 * w * f])
    odd = tf.reshape(tf.concat([p10, p11], axis=-1), [-1, h, 2 * w * f])
    return tf.reshape(tf.concat([even, odd], axis=-1), [-1, 2 * h, 2 * w, f])


def _deinterleave(y):
    _, h, w, f = y.shape
    rows = tf.reshape(y, [-1, h // 2, 2, w // 2, 2, f])
    return [[rows[:, :, a, :, b] for b in (0, 1)] for a in (0, 1)]


def _pad(x, top, bottom, left, right):
    return tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]])
