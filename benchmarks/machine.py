"""What the figures were measured on."""

import importlib.metadata
import os
import pathlib
import platform

PACKAGES = ("tensorflow", "keras", "torch", "numpy", "jax", "opencv-python-headless")


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory and versions, as shown on the page."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal")
    return f"{int(kilobytes.split()[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _field(path: str, name: str) -> str:
    """The first value of a `name: value` file of the kernel; "" where there is none."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return ""
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return next((v.strip() for k, v in pairs if k.strip() == name), "")
