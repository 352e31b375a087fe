"""Exports a trained generator as a SavedModel that plain TensorFlow can serve."""

import pathlib
import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.export_flags import (
    define_export_flags,
    output_dir_of,
    record_export,
)


def define_flags():
    define_export_flags("train_gan")
    flags.DEFINE_enum(
        "checkpoint",
        "last",
        ["last", "best"],
        "Which state to export: the last, or the one of least validation loss. Such a "
        "loss prefers blur to detail: best is a way back from a collapse.",
    )


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.dermgan.runs import load_run_generator
    from dermgan_tf.models.dermgan.served import load_generator, write_saved_model
    from dermgan_tf.output_folder import output_folder

    start = time.monotonic()
    output_dir = output_dir_of(args)
    generator, vocabulary, provenance = load_run_generator(
        args.model_dir, args.checkpoint, args.use_ema
    )
    with output_folder(output_dir, args.overwrite, [args.model_dir]) as folder:
        write_saved_model(generator, vocabulary, folder, provenance)
        exported = time.monotonic()
        saved = load_generator(folder)
        check_paints(saved, generator)
        seconds = {"export": exported - start, "check": time.monotonic() - exported}
        record_export(folder, "export_generator", args, provenance, seconds)
    print_summary(saved, output_dir)


def check_paints(saved, generator) -> None:
    """Raises unless the file on disk paints what the network in memory paints."""
    import numpy as np

    from dermgan_tf.generation.plan import varied_specs

    size, seeds = saved.image_size, [0, 1]
    specs = varied_specs(saved.vocabulary, count=len(seeds))
    maps = np.stack([spec.semantic_map(size, saved.vocabulary) for spec in specs])
    scaled = maps.astype(np.float32) / 127.5 - 1
    wanted = np.asarray(generator(scaled, seed=np.array(seeds, np.int32)))
    wanted = np.clip(np.rint((wanted + 1) * 127.5), 0, 255)
    off = np.abs(saved.paint(maps, seeds) - wanted).max()
    if not off <= 1:  # one level: rounding. NaN fails too
        raise RuntimeError(
            f"the exported model paints other images than the trained one (by {off})"
        )


def print_summary(saved, output_dir: str) -> None:
    files = [path for path in pathlib.Path(output_dir).rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    trained = saved.metadata["provenance"]
    print(f"{output_dir}: {megabytes:.1f} MB, checked: loads and paints")
    print(f"  generator  {saved.fingerprint} ({trained['weights']})")
    print(f"  images     {saved.image_size} × {saved.image_size}")
    print(f"  conditions {', '.join(saved.vocabulary)}")
    for name, inputs, outputs in saved.signatures():
        print(f"  signature  {name}({inputs}) -> {outputs}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
