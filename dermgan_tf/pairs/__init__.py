"""Photos become pairs or patches (TFRecords), and come back as tf.data."""
