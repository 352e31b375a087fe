"""A decoder that crashes on files of some names, in every process that is started."""

import os
import pathlib

# Python runs this in every process that finds it.
_HOOK = """
import os, pathlib, signal
from PIL import Image
plain_open = Image.open

def crashing_open(file, *args, **kwargs):
    path = pathlib.Path(getattr(file, "name", ""))
    if path.name.startswith("crash-segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name.startswith("crash-once") and not path.with_suffix(".seen").exists():
        path.with_suffix(".seen").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain_open(file, *args, **kwargs)

Image.open = crashing_open
"""
CRASHES = {
    "crash-segfault.jpg": "the decoder crashed (signal 11, SIGSEGV)",
    "crash-once.jpg": None,  # killed by another, and good
}


def crashing_decoder(folder: str | os.PathLike) -> str:
    """Writes it to a new folder; returns what PYTHONPATH has to be to have it."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    return str(folder)
