"""Adam in one pass over memory."""

import keras


@keras.saving.register_keras_serializable(package="dermgan_tf")
class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma & Ba 2014), computed by TensorFlow's fused kernel.

    The formula, arguments and variables are those of `keras.optimizers.Adam`; the
    update reads and writes each variable once instead of once per operation. Under
    other backends than TensorFlow, and with `amsgrad`, it is the parent.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        # Keras hands over tf.Variables, of one replica each; ours are then told apart
        # by the replica whose update this is.
        if isinstance(variable, keras.Variable):
            variable = variable.value
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )
