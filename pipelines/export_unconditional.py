"""Exports a network that paints photographs from noise as a SavedModel."""

import time

from pipelines.shared import program
from pipelines.shared.export_flags import (
    define_export_flags,
    output_dir_of,
    record_export,
)


def define_flags():
    define_export_flags("train_unconditional")


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.unconditional.runs import load_run_unconditional
    from dermgan_tf.models.unconditional.served import (
        load_unconditional,
        write_unconditional,
    )
    from dermgan_tf.output_folder import output_folder

    start = time.monotonic()
    output_dir = output_dir_of(args)
    network, provenance = load_run_unconditional(args.model_dir, args.use_ema)
    with output_folder(output_dir, args.overwrite, [args.model_dir]) as folder:
        write_unconditional(network, folder, provenance)
        saved = load_unconditional(folder)
        check_paints(saved, network)
        record_export(
            folder,
            "export_unconditional",
            args,
            provenance,
            {"export": time.monotonic() - start},
        )
    print(f"{output_dir}: checked: loads and paints")
    print(f"  generator  {saved.fingerprint} ({provenance['weights']})")
    print(f"  images     {saved.image_size} × {saved.image_size}")
    for name, inputs, outputs in saved.signatures():
        print(f"  signature  {name}({inputs}) -> {outputs}")


def check_paints(saved, network) -> None:
    """Raises unless the file on disk paints what the network in memory paints."""
    import numpy as np

    seeds = [0, 1]
    wanted = np.asarray(network(saved.latents(seeds)))
    wanted = np.clip(np.rint((wanted + 1) * 127.5), 0, 255)
    off = np.abs(saved.paint(seeds) - wanted).max()
    if not off <= 1:  # one level: rounding. NaN fails too
        raise RuntimeError(
            f"the exported model paints other images than the trained one (by {off})"
        )


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
