"""What the programs share that export a trained network as a SavedModel."""

import os
import pathlib

from absl import flags

from pipelines.shared import program


def define_export_flags(trained_by: str) -> None:
    """Flags of every export; `trained_by` is the program whose run is exported."""
    flags.DEFINE_string(
        "model_dir", None, f"Folder that {trained_by} wrote.", required=True
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


def output_dir_of(args) -> str:
    """Where to export to."""
    name = pathlib.Path(args.model_dir).resolve().name
    return args.output_dir or os.path.join("saved_models", name)


def record_export(folder, name: str, args, provenance, durations) -> None:
    """Writes run.json of the program `name` beside what it exported."""
    from dermgan_tf.run_record import write_run_record

    write_run_record(
        folder,
        name,
        program.flag_values(args),
        seed=provenance.get("seed"),
        data_fingerprint=provenance.get("data_fingerprint"),
        durations=durations,
    )
