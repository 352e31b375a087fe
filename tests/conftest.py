"""Settings for the whole suite: quiet TensorFlow, and no accelerator."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

# Files that start processes or train for long. With several workers they go first, so
# that none is left for the end, when the other workers are idle.
_LONG = (
    "test_quickstart_program",
    "test_killed_runs",
    "test_cluster",
    "test_distribution",
    "test_ablation_program",
    "test_train_gan_program",
    "test_train_classifier_program",
    "test_classifier_training",
    "test_evaluate_gan_program",
    "test_export_generate_programs",
    "test_augmentation_study",
    "test_tune_program",
    "test_reader_study_program",
    "test_reader_study_browser",
    "test_studio_program",
    "test_studio_browser",
    "test_image_atlas_program",
    "test_web_atlas",
    "test_atlas_browser",
    "test_unconditional_training",
    "test_translation_training",
    "test_translator_evaluation",
    "test_translate_files",
    "test_networks",
    "test_datasets",
    "test_fuzz",
    "test_privacy",
)


@pytest.fixture(scope="session")
def vivid_saved_model(tmp_path_factory):
    """A small generator's SavedModel; see tiny_saved_model."""
    from tiny_saved_model import export_vivid

    return export_vivid(tmp_path_factory.mktemp("vivid") / "model")


def pytest_configure(config):
    # pytest-xdist would put files of many tests first, which are not the long ones.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
