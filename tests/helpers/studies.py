"""Starting the programs of many runs, on pairs small enough to train on in a test."""

import keras

from tests.helpers.forked_programs import start_program
from tests.helpers.tiny_pairs import make_tiny_pairs

STEPS = 30


def start_study(program, folder, output, *more, afresh=False):
    return start_program(
        program,
        f"--data_dir={folder / 'clinic' / 'pairs'}",
        f"--output_dir={output}",
        f"--embedding={folder / 'features.keras'}",
        *("--batch_size=2", "--base_filters=2", "--checkpoint_every=5"),
        *(f"--steps={STEPS}", "--trials=3", *more),
        afresh=afresh,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr.replace("\r", "\n").strip()


def make_inputs(folder):
    """Writes pairs and an embedding into an existing folder, and returns it."""
    make_tiny_pairs(folder / "clinic", cases=40)
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Conv2D(3, 5, strides=2)(inputs)
    keras.Model(inputs, outputs).save(folder / "features.keras")
    return folder
