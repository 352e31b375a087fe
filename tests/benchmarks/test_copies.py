"""The benchmark of copies plants what it says, and tells what was found of it."""

import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import copies
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    read_annotations,
    write_annotations,
)
from tests.helpers.near_copies import textures


class Colours:
    """Embeds an image as the means of its quarters' colours."""

    name = "colours"

    def embed(self, images, batch_size=32):
        grids = [np.asarray(Image.fromarray(x).resize((4, 4))) for x in images]
        return np.stack(grids).reshape(len(grids), -1).astype(np.float32)


@pytest.fixture
def planted(tmp_path):
    """Copies of three photos, two of which are the same; ten are not held out."""
    photos = textures(12, size=(120, 160))
    photos.insert(1, photos[0])
    lines = []
    for i, photo in enumerate(photos):
        (tmp_path / f"{i}.png").write_bytes(photo_io.encode_png(photo))
        lines.append(PhotoAnnotation(f"{i}.png", f"case{i}", "wart"))
    write_annotations(tmp_path / "annotations.jsonl", lines)
    (tmp_path / "planted").mkdir()
    args = types.SimpleNamespace(
        annotations=tmp_path / "annotations.jsonl",
        photos=13,
        planted=3,
        held_out=0.25,
        seed=0,
    )
    return copies.plant(args, tmp_path / "planted")


def test_copies_are_of_held_out_photos(planted):
    assert len(planted.held_out) == 4 and len(planted.others) == 9
    lines, rejects = read_annotations(planted.folder / "annotations.jsonl")
    assert len(lines) == 13 + 3 * len(copies.COPIES) and not rejects
    splits = {line.image: line.split for line in lines}
    assert {splits[image] for image in planted.held_out} == {"test"}
    assert {splits[image] for image in planted.others} == {"train"}
    for made in planted.copies.values():
        assert list(made.values()) == planted.held_out[:3]
        assert {splits[copy] for copy in made} == {"train"}

    def size(kind):
        copy = next(iter(planted.copies[kind]))
        return photo_io.read_photo(planted.folder / copy).shape[:2]

    assert size("half the size") == (60, 80) and size("twice the size") == (240, 320)
    assert size("turned by 90°") == (160, 120)
    assert size("without 10 % of each border") == (96, 128)


def test_what_is_found_is_counted(planted, capsys):
    times = {}
    shown, rows = copies.search_prints(planted, times)
    assert rows["JPEG 50"] == rows["turned by 90°"] == [3, 3, 0]
    assert list(rows) == list(copies.COPIES)
    assert "1 pairs among the photos, 1 exact" in capsys.readouterr().out
    found = copies.search_embedded(planted, shown, Colours(), times)
    assert found["JPEG 75"] == [3, 0] and list(found) == list(rows)
    assert list(times) == [
        "read_prints",
        "find_duplicates",
        "HeldOutPhotos",
        "copies_among",
    ]


def test_false_finds_are_those_of_another_photo():
    shown = {"photo": 1, "its double": 1, "other": 2, "copy": 1, "copy of other": 2}
    pairs = [("copy", "its double"), ("copy", "other"), ("photo", "its double")]
    made = {"copy": "photo", "copy of other": "other"}
    assert copies.tallied(pairs, made, shown) == [1, 1]
