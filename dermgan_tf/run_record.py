"""run.json: what a program was told, with which versions, and how long it took."""

import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dermgan_tf.output_folder import atomic_write

RECORDED_PACKAGES = (
    "dermgan_tf",
    "tensorflow",
    "keras",
    "tensorflow-datasets",
    "apache-beam",
    "numpy",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "defusedxml",
    "pyyaml",
    "lancedb",
    "starlette",
    "uvicorn",
    "opencv-python-headless",
    "pillow",
)


def write_run_record(
    folder: str | os.PathLike,
    program: str,
    flags: Mapping[str, Any],
    seed: int | None = None,
    data_fingerprint: str | None = None,
    durations: Mapping[str, float] | None = None,
    left_out: Sequence[str] = (),
) -> None:
    """Writes `folder`/run.json.

    Args:
        folder: an existing folder.
        program: the program's name.
        flags: the flags' values, as JSON can hold them.
        seed: the run's seed, where it has one.
        data_fingerprint: digest of the data that went in.
        durations: seconds by step of the work.
        left_out: what of the data was not used and why, a line each.
    """
    record = {
        "program": program,
        "flags": dict(flags),
        "seed": seed,
        "data_fingerprint": data_fingerprint,
        **({"left_out": list(left_out)} if left_out else {}),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "durations_seconds": {
            name: round(seconds, 3) for name, seconds in (durations or {}).items()
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }
    data = json.dumps(record, indent=2, default=str) + "\n"
    atomic_write(pathlib.Path(folder) / "run.json", data.encode())


def _versions() -> dict[str, str]:
    versions = {}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # e.g. run from a checkout
            continue
    return versions
