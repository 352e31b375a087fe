"""TensorFlow Datasets' own tests of a builder, with ours."""

import collections
import pathlib

import pytest
import tensorflow_datasets as tfds

from dermgan_tf import datasets
from dermgan_tf.phantom import case_plan, phantom_vocabulary
from dermgan_tf.photos.annotations import split_of_case
from tests.pairs.test_tfds import clinic

pytest.importorskip("dill", reason="tfds.testing needs it and does not install it")


class ByName:
    """Common to the tests of all builders."""

    def test_registered(self):  # the original loads every builder that there is
        assert tfds.builder_cls(self.builder.name) is type(self.builder)


class TestPhantom(ByName, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.DermPhantom
    EXAMPLE_DIR = str(pathlib.Path(__file__).parent)  # must exist, for nothing
    BUILDER_CONFIG_NAMES_TO_TEST = [
        datasets.DermPhantomConfig(name="few", num_conditions=3, size=64, cases=13)
    ]
    SPLITS = collections.Counter(
        split_of_case(case.case_id)
        for case in case_plan(13, phantom_vocabulary(3), 0)
        for _ in range(case.num_photos)
    )


class TestPhotos(ByName, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.DermPhotos
    SPLITS = {"train": 2, "validation": 2, "test": 4}
    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False  # photographs are files of this machine

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = str(pathlib.Path(tfds.testing.make_tmp_dir()) / "clinic")
        clinic(pathlib.Path(cls.EXAMPLE_DIR), cases=4)
        super().setUpClass()
