"""Keras layers, losses and backbones; keras.ops, with TensorFlow forms behind them."""
