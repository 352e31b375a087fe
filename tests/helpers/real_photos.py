"""Where the real photographs lie that some tests read.

DERMGAN_TEST_PHOTOS names the folder. In it are data sets as they are published, whole
or in part: foot_ulcer/ (images, masks), pad_ufes_20/, fitzpatrick17k/. Tests that miss
theirs are skipped.
"""

import os
import pathlib

import pytest

_VARIABLE = "DERMGAN_TEST_PHOTOS"
_DEFAULT = pathlib.Path(__file__).parents[3] / "shared/data"
PHOTOS = pathlib.Path(os.environ.get(_VARIABLE) or _DEFAULT)


def needs(path: pathlib.Path):
    """A mark for tests that read this file or folder."""
    return pytest.mark.skipif(
        not path.exists(), reason=f"no {path}: {_VARIABLE} names the photos' folder"
    )
