"""`.keras` files load in a process that imported the package and nothing of it."""

import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import dermgan_tf
from dermgan_tf.saved_classes import MODULES

ROOT = pathlib.Path(dermgan_tf.__file__).parent

LOAD = """
import sys
{imports}
import numpy as np
model = keras.saving.load_model(sys.argv[1])
np.savez(sys.argv[2], *model.get_weights())
print(type(model).__name__, model.dtype_policy.name, model.trainable)
"""


def load_elsewhere(file, folder, imports="import dermgan_tf as dg\nimport keras"):
    """What another process finds in a file: (class, policy, trainable), weights."""
    weights = folder / "weights.npz"
    told = subprocess.run(
        [sys.executable, "-c", LOAD.format(imports=imports), file, weights],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    with np.load(weights) as arrays:
        return told, [arrays[name] for name in arrays.files]


def test_every_registered_class_is_in_the_table():
    registered = re.compile(
        r'register_keras_serializable\(package="dermgan_tf"\)\nclass (\w+)'
    )
    found = {
        name: ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.rglob("*.py")
        for name in registered.findall(path.read_text("utf-8"))
    }
    assert found == MODULES


@pytest.mark.parametrize(
    "imports",
    [
        "import dermgan_tf as dg\nimport keras",
        "import keras\nimport dermgan_tf as dg",
    ],
    ids=["keras second", "keras first"],
)
def test_file_of_an_earlier_version(imports, tmp_path):
    """Made by 0.1.0, when the classes stood in other modules."""
    file = pathlib.Path(__file__).parent / "data/version_0_1_0/dermgan.keras"
    told, weights = load_elsewhere(file, tmp_path, imports)
    assert told == ["DermGAN", "float32", "True"]
    here = keras.saving.load_model(file)
    assert len(weights) == len(here.get_weights()) > 20
    for given, wanted in zip(weights, here.get_weights(), strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_layers_keep_policy_and_trainable(tmp_path):
    from dermgan_tf.layers.group_norm import GroupNorm
    from dermgan_tf.layers.resize_conv2d import ResizeConv2D

    inputs = keras.Input((8, 8, 4))
    hidden = ResizeConv2D(6, 3, dtype="mixed_bfloat16")(inputs)
    model = keras.Model(inputs, GroupNorm(2)(hidden))
    model.trainable = False
    model.save(tmp_path / "layers.keras")
    told, weights = load_elsewhere(tmp_path / "layers.keras", tmp_path)
    assert told == ["Functional", model.dtype_policy.name, "False"]
    for given, wanted in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("compiled", [True, False])
def test_model_keeps_how_it_was_compiled(compiled, tmp_path):
    gan = dermgan_tf.DermGAN(
        dermgan_tf.build_generator(64, 1), dermgan_tf.build_discriminator(64, 1)
    )
    if compiled:
        gan.compile(keras.optimizers.SGD(0.25), steps_per_execution=3)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras")
    assert loaded.compiled == compiled
    if compiled:
        assert loaded.steps_per_execution == 3
        assert float(loaded.generator_optimizer.learning_rate) == 0.25
