"""Settings for the whole suite: quiet TensorFlow, and no accelerator."""

import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

_TESTS = pathlib.Path(__file__).parent

# Files that start processes or train for long. With several workers they go first, so
# that none is left for the end, when the other workers are idle.
_LONG = (
    "pipelines/test_quickstart.py",
    "training/test_killed_runs.py",
    "training/test_workers.py",
    "training/test_distribution.py",
    "pipelines/test_ablation.py",
    "pipelines/test_train_gan.py",
    "pipelines/test_train_classifier.py",
    "classifier/test_task.py",
    "pipelines/test_evaluate_gan.py",
    "pipelines/test_export_generate.py",
    "studies/test_augmentation.py",
    "pipelines/test_tune.py",
    "pipelines/test_reader_study.py",
    "apps/reader_study/test_browser.py",
    "pipelines/test_studio.py",
    "apps/studio/test_browser.py",
    "pipelines/test_image_atlas.py",
    "apps/atlas/test_pages.py",
    "apps/atlas/test_browser.py",
    "models/unconditional/test_task.py",
    "models/translation/test_task.py",
    "judging/test_translation.py",
    "generation/test_translated.py",
    "models/dermgan/test_networks.py",
    "pairs/test_tfds.py",
    "photos/test_fuzz.py",
    "photos/test_privacy.py",
)


@pytest.fixture(scope="session")
def vivid_saved_model(tmp_path_factory):
    """A small generator's SavedModel; see tiny_saved_model."""
    from tests.helpers.tiny_saved_model import export_vivid

    return export_vivid(tmp_path_factory.mktemp("vivid") / "model")


def pytest_configure(config):
    # pytest-xdist would put files of many tests first, which are not the long ones.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(_LONG)}

    def place(item):
        return places.get(item.path.relative_to(_TESTS).as_posix(), len(places))

    items.sort(key=place)
