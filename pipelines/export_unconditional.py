"""Exports a network that paints photographs from noise as a SavedModel."""

import os
import pathlib
import time

from absl import flags

from pipelines import program


def define_flags():
    flags.DEFINE_string(
        "model_dir", None, "Folder that train_unconditional wrote.", required=True
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "SavedModel folder to make. Default: saved_models/<name of --model_dir>.",
    )
    flags.DEFINE_bool(
        "use_ema",
        True,
        "Export the moving average of the weights where there is one, else the weights "
        "themselves.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    program.load_tensorflow()
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.run_unconditional import load_run_unconditional
    from dermgan_tf.unconditional_generation import load_unconditional
    from dermgan_tf.unconditional_model import write_unconditional

    start = time.monotonic()
    name = pathlib.Path(args.model_dir).resolve().name
    output_dir = args.output_dir or os.path.join("saved_models", name)
    network, provenance = load_run_unconditional(args.model_dir, args.use_ema)
    with output_folder(output_dir, args.overwrite, [args.model_dir]) as folder:
        write_unconditional(network, folder, provenance)
        saved = load_unconditional(folder)
        check_paints(saved, network)
        write_run_record(
            folder,
            "export_unconditional",
            program.flag_values(args),
            seed=provenance.get("seed"),
            data_fingerprint=provenance.get("data_fingerprint"),
            durations={"export": time.monotonic() - start},
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
