"""ResizeConv2D: ×2 upsampling without the checkerboard of transposed convolutions."""

import keras
from keras import ops

# From this input width on, "auto" takes the folded form. On two CPU cores 8 and 16 were
# much alike, 32 and 64 slower in float32; a coarse measurement under load.
FOLD_FROM_WIDTH = 16


@keras.saving.register_keras_serializable(package="dermgan_tf")
class ResizeConv2D(keras.layers.Layer):
    """Nearest-neighbour ×2 resize followed by a "same" convolution.

    Odena et al. 2016 ("Deconvolution and checkerboard artifacts") put the resize before
    the convolution so that every output pixel is reached by equally many kernel taps.
    The two are one linear map: a stride-2 transposed convolution whose (k+1) × (k+1)
    kernel is the flipped k × k kernel convolved with a 2 × 2 box of ones. The layer
    computes whichever form is faster; the weights are those of the k × k convolution.

    Args:
        filters: int. Channels of the output.
        kernel_size: int, odd. Side k of the convolution's kernel.
        use_bias: bool. Whether a bias is added.
        kernel_initializer: initializer of the [k, k, C_in, filters] kernel.
        form: "auto", "folded" (one transposed convolution) or "two_step" (resize, then
            convolution).

    Input: [N, H, W, C_in]. Output: [N, 2H, 2W, filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        form: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        if form not in ("auto", "folded", "two_step"):
            raise ValueError(
                f'form must be "auto", "folded" or "two_step", got {form!r}'
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.form = form

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            name="kernel",
            autocast=False,  # folded at full precision, cast after
        )
        self.bias = (
            self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
            if self.use_bias
            else None
        )
        width = input_shape[2]
        wide = width is None or width >= FOLD_FROM_WIDTH
        self._folded = self.form == "folded" or (self.form == "auto" and wide)

    def call(self, inputs):
        if self._folded:
            kernel = ops.cast(fold_kernel(self.kernel), self.compute_dtype)
            outputs = ops.conv_transpose(inputs, kernel, strides=2, padding="same")
        else:
            kernel = ops.cast(self.kernel, self.compute_dtype)
            outputs = ops.conv(resize_nearest_2x(inputs), kernel, padding="same")
        return outputs if self.bias is None else outputs + self.bias

    def compute_output_shape(self, input_shape):
        n, height, width, _ = input_shape
        double = (None if side is None else 2 * side for side in (height, width))
        return (n, *double, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "form": self.form,
        }


def fold_kernel(kernel):
    """Folds the resize into a convolution kernel.

    Per dimension, output o of the two steps is sum_t w[t] x[(o + t - p) // 2] with
    p = (k-1)/2. Collecting the taps on x[i] gives K[o - 2i + p] with
    K[e] = w[2p - e] + w[2p + 1 - e]: the flipped kernel plus itself moved by one.

    Args:
        kernel: [k, k, C_in, C_out], of a convolution.

    Returns:
        [k+1, k+1, C_out, C_in], of a stride-2 "same" transposed convolution.
    """
    kernel = ops.flip(ops.flip(kernel, axis=0), axis=1)
    kernel = ops.transpose(kernel, (0, 1, 3, 2))
    rows = ops.pad(kernel, ((1, 0), (0, 0), (0, 0), (0, 0))) + ops.pad(
        kernel, ((0, 1), (0, 0), (0, 0), (0, 0))
    )
    return ops.pad(rows, ((0, 0), (1, 0), (0, 0), (0, 0))) + ops.pad(
        rows, ((0, 0), (0, 1), (0, 0), (0, 0))
    )


def resize_nearest_2x(images):
    """Doubles height and width of [N, H, W, C] by repeating each pixel."""
    return ops.repeat(ops.repeat(images, 2, axis=1), 2, axis=2)
