"""Data sets for TensorFlow Datasets: importing this module registers the builders.

    import dermgan_tf.datasets
    import tensorflow_datasets as tfds

    photos = tfds.load("derm_phantom/8_conditions_128", split="train")

| name | holds |
|---|---|
| derm_phantom | drawn photographs; drawn on first use |
| derm_photos | the photographs of an annotations.jsonl, without what cameras add |

What they build is read with TensorFlow Datasets alone: `tfds.builder_from_directory`,
which opens a folder of pairs, too.
"""

from dermgan_tf.pairs.tfds_phantom import DermPhantom, DermPhantomConfig
from dermgan_tf.pairs.tfds_photos import DermPhotos

__all__ = ["DermPhantom", "DermPhantomConfig", "DermPhotos"]
