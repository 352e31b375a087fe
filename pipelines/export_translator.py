"""Exports a network that adds or removes pathology as a SavedModel."""

import os
import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.export_flags import (
    define_export_flags,
    output_dir_of,
    record_export,
)


def define_flags():
    define_export_flags("train_lesion_translation")
    flags.DEFINE_enum(
        "direction",
        None,
        ["add", "remove"],
        "Which way; needed of a run with --unpaired, which learns both.",
    )


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.translation.runs import load_run_translator
    from dermgan_tf.models.translation.served import write_translator
    from dermgan_tf.output_folder import output_folder

    start = time.monotonic()
    output_dir = output_dir_of(args)
    network, provenance = load_run_translator(
        args.model_dir, args.direction, args.use_ema
    )
    with output_folder(output_dir, args.overwrite, [args.model_dir]) as folder:
        write_translator(network, folder, provenance["compose"], provenance)
        check_translates(folder, network.output_shape[1])
        record_export(
            folder,
            "export_translator",
            args,
            provenance,
            {"export": time.monotonic() - start},
        )
    print(f"{output_dir}: checked: loads and translates")
    print(f"  direction  {provenance['direction']}")
    print(f"  weights    {provenance['weights']}")
    print(
        f"  photos     {network.output_shape[1]} × {network.output_shape[1]} and more"
    )


def check_translates(folder, size: int) -> None:
    """Raises unless the file on disk leaves a photo without a mask as it is."""
    import numpy as np
    import tensorflow as tf

    translate = tf.saved_model.load(os.fspath(folder)).signatures["serving_default"]
    photo = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    mask = np.zeros((1, size, size, 1), np.uint8)
    given = translate(photo=tf.constant(photo), mask=tf.constant(mask))["photo"]
    if not np.array_equal(given, photo):
        raise RuntimeError("the exported model changes a photo that has an empty mask")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
