"""ResizeConv2D: ×2 upsampling without the checkerboard of transposed convolutions."""

import keras
import numpy as np
from keras import ops

FORMS = ("auto", "two_step", "folded", "winograd", "subpixel")
# What "auto" takes, measured on two CPU cores (BENCHMARKS.md). Elsewhere than on CPUs
# under TensorFlow: the folded form from this input width on, else the two steps.
FOLD_FROM_WIDTH = 16
# On CPUs: winograd from this number of filters on, subpixel up to that one.
WINOGRAD_FROM_FILTERS = 64
SUBPIXEL_TO_FILTERS = 4


@keras.saving.register_keras_serializable(package="dermgan_tf")
class ResizeConv2D(keras.layers.Layer):
    """Nearest-neighbour ×2 resize followed by a "same" convolution.

    Odena et al. 2016 ("Deconvolution and checkerboard artifacts") put the resize before
    the convolution so that every output pixel is reached by equally many kernel taps.
    The two are one linear map, which can be computed in several ways. The layer takes
    the one that is fastest for its shape; its weights are those of the k × k
    convolution in all of them.

    two_step   the definition: 4k² products an input pixel.
    folded     a stride-2 transposed convolution, whose (k+1) × (k+1) kernel is the
               flipped k × k kernel convolved with a 2 × 2 box of ones: (k+1)².
    winograd   for k = 3, under TensorFlow: 9 products where folded has 16, as matrix
               products.
    subpixel   for k = 3, under TensorFlow: a convolution to 4 · filters channels, then
               depth to space; for very few filters.

    Args:
        filters: int. Channels of the output.
        kernel_size: int, odd. Side k of the convolution's kernel.
        use_bias: bool. Whether a bias is added.
        kernel_initializer: initializer of the [k, k, C_in, filters] kernel.
        form: "auto" or one of those above. winograd and subpixel need an input of known
            height and width.

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
        if form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, got {form!r}")
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
        self.chosen_form = self._choose_form(input_shape)
        self._prepared = None

    def prepare_for_inference(self):
        """Transforms the kernel once for all calls to come (TensorFlow only).

        Calls then use the result, kept in the compute dtype, and have no gradients;
        what happens to the kernel afterwards they do not see.

        Returns:
            list of tf.Variable: all that calls use besides the bias.
        """
        import tensorflow as tf

        self._prepared = [
            tf.Variable(tf.cast(matrix, self.compute_dtype), trainable=False)
            for matrix in self._prepare(tf.convert_to_tensor(self.kernel))
        ]
        return self._prepared

    def _prepare(self, kernel):
        """The form's own kernels, a tuple, from the k × k kernel."""
        if self.chosen_form == "winograd":
            return self._tensorflow_forms.winograd_factors(kernel)
        if self.chosen_form == "subpixel":
            return (self._tensorflow_forms.subpixel_kernel(kernel),)
        return (fold_kernel(kernel) if self.chosen_form == "folded" else kernel,)

    def call(self, inputs):
        if self.chosen_form in ("winograd", "subpixel"):
            form = getattr(self._tensorflow_forms, f"{self.chosen_form}_resize_conv")
            outputs = form(inputs, self.kernel, self._prepared)
        else:
            (kernel,) = self._prepared or self._prepare(self.kernel)
            kernel = ops.cast(kernel, self.compute_dtype)
            if self.chosen_form == "folded":
                outputs = ops.conv_transpose(inputs, kernel, strides=2, padding="same")
            else:
                outputs = ops.conv(resize_nearest_2x(inputs), kernel, padding="same")
        return outputs if self.bias is None else outputs + self.bias

    @property
    def _tensorflow_forms(self):
        from dermgan_tf.layers import resize_conv2d_forms

        return resize_conv2d_forms

    def _choose_form(self, input_shape):
        height, width = input_shape[1:3]
        possible = (
            keras.backend.backend() == "tensorflow"
            and self.kernel_size == 3
            and None not in (height, width)
        )
        if self.form in ("winograd", "subpixel") and not possible:
            raise ValueError(
                f"form {self.form!r} needs the TensorFlow backend, kernel_size 3 and "
                f"an input of known size; got the {keras.backend.backend()} backend, "
                f"kernel_size {self.kernel_size} and input {tuple(input_shape)}"
            )
        if self.form != "auto":
            return self.form
        if possible and not _has_accelerator():
            if self.filters >= WINOGRAD_FROM_FILTERS:
                return "winograd"
            if self.filters <= SUBPIXEL_TO_FILTERS:
                return "subpixel"
        wide = width is None or width >= FOLD_FROM_WIDTH
        return "folded" if wide else "two_step"

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
    k, _, c_in, c_out = kernel.shape
    fold = np.eye(k + 1, k)[::-1] + np.eye(k + 1, k, -1)[::-1]
    # A matrix product: flipping and padding a large kernel takes ten times as long.
    folded = ops.matmul(
        ops.cast(np.kron(fold, fold), kernel.dtype),
        ops.reshape(kernel, (k * k, c_in * c_out)),
    )
    folded = ops.reshape(folded, (k + 1, k + 1, c_in, c_out))
    return ops.transpose(folded, (0, 1, 3, 2))


def resize_nearest_2x(images):
    """Doubles height and width of [N, H, W, C] by repeating each pixel."""
    return ops.repeat(ops.repeat(images, 2, axis=1), 2, axis=2)


def _has_accelerator() -> bool:
    import tensorflow as tf

    return any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))
