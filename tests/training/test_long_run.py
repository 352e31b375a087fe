"""A long run needs no more memory at its end than soon after its beginning."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import pytest

from tests.helpers.tiny_pairs import make_tiny_pairs

PROGRAM = """
import json, os, sys
from dermgan_tf.models.dermgan.task import train_gan

megabytes = []

def measure():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return False

train_gan(
    sys.argv[1], sys.argv[2], steps=2000, batch_size=2, base_filters=2,
    checkpoint_every=50, sample_every=50, log_every=10, stop_requested=measure,
)
print(json.dumps(megabytes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_memory_stays_flat(tmp_path):
    data_dir = make_tiny_pairs(tmp_path / "clinic")
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, data_dir, tmp_path / "model"],
        cwd=root,
        stdout=subprocess.PIPE,
        check=True,
    )
    megabytes = json.loads(done.stdout.splitlines()[-1])
    assert len(megabytes) == 2000
    early, late = (
        statistics.median(megabytes[start : start + 250]) for start in (250, 1750)
    )
    assert late - early < 10  # 7 kB a step; a few of allocator's whims are usual
