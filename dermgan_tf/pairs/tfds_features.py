"""The features that the data sets share, and what each of them means."""

import hashlib
from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds
from etils import epath  # comes with tensorflow_datasets

from dermgan_tf.photos.semantic_map import Roi

# Where the builders stand. TensorFlow Datasets 4.9.10 finds out by a package that it
# does not install, importlib_resources (its issue 11212), so the builders tell it.
CODE_PATH = epath.Path(__file__)

CITATION = """
@article{ghorbani2019dermgan,
  title={{DermGAN}: Synthetic Generation of Clinical Skin Images with Pathology},
  author={Ghorbani, Amirata and Natarajan, Vivek and Coz, David and Liu, Yuan},
  journal={arXiv preprint arXiv:1911.08716},
  year={2019}
}
"""

_DOCS = {
    "image": ("The photograph, RGB, upright, in sRGB.", "0…255"),
    "semantic_map": (
        "What the generator reads. R is round(255 t / 6) for skin type t, everywhere. "
        "G and B tell the condition k of K inside its boxes and are 0 outside: "
        "G = round(255 (k // n + 1) / n), B = round(255 (k % n + 1) / n) with "
        "n = ceil(sqrt(K)).",
        "0…255",
    ),
    "image_id": ("Names the photograph; tells neither its path nor its file.", None),
    "case_id": ("The patient visit. No case is in two splits.", None),
    "condition": ("The diagnosis.", None),
    "fitzpatrick": (
        "Fitzpatrick skin type, I to VI; 0 is unknown.",
        "0…6",
    ),
    "bbox": ("Box around a visible condition: ymin, xmin, ymax, xmax.", "0…1"),
    "box_condition": ("The condition inside the box.", None),
    "window": ("The crop's place in its photograph: ymin, xmin, ymax, xmax.", "0…1"),
    "source": ("Where the image comes from.", "real, phantom or synthetic"),
}


def doc(name: str) -> tfds.features.Documentation:
    """What the feature of this name means, for its `doc` argument."""
    return tfds.features.Documentation(*_DOCS[name])


def photo_features(
    image: tfds.features.Image, conditions: Iterable[str] | None
) -> dict[str, tfds.features.FeatureConnector]:
    """The features of a whole photograph.

    Args:
        image: the feature of its pixels.
        conditions: names in the order of the labels; None = not known before the
            data is read.
    """
    names = None if conditions is None else list(conditions)
    return {
        "image": image,
        "image_id": tfds.features.Text(doc=doc("image_id")),
        "case_id": tfds.features.Text(doc=doc("case_id")),
        "condition": tfds.features.ClassLabel(names=names, doc=doc("condition")),
        "fitzpatrick": tfds.features.Scalar(np.int32, doc=doc("fitzpatrick")),
        "rois": tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(doc=doc("bbox")),
                "condition": tfds.features.ClassLabel(
                    names=names, doc=doc("box_condition")
                ),
            },
            doc="The regions of interest; none where nobody drew any.",
        ),
        "source": tfds.features.Text(doc=doc("source")),
    }


def label(condition: str) -> str:
    """A condition's name as labels have it: without spaces around it.

    TensorFlow Datasets drops these when it reads the names back.
    """
    return condition.strip()


def roi_examples(rois: Iterable[Roi]) -> list[dict]:
    """The feature "rois" of an example."""
    return [
        {"bbox": tfds.features.BBox(*roi.box), "condition": label(roi.condition)}
        for roi in rois
    ]


def image_id(case_id: str, name: str) -> str:
    """The name that pairs of the same photograph carry; see `prepare_pairs`."""
    return hashlib.sha256(f"{case_id}/{name}".encode()).hexdigest()[:16]
