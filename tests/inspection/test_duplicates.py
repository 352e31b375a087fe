import os
import signal

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dermgan_tf.errors import InputError
from dermgan_tf.inspection.duplicates import (
    COPY,
    LOOKALIKE,
    NEIGHBOURS,
    connected,
    duplicate_groups,
    find_duplicates,
    map_photos,
    photo_print,
    read_prints,
    same_files_across_splits,
)
from dermgan_tf.photos.annotations import PhotoAnnotation, case_splits
from dermgan_tf.photos.photo_io import read_photo
from tests.helpers.near_copies import COPIES, cropped, halved, jpeg, textures
from tests.helpers.real_photos import PHOTOS, needs

FOOT_ULCERS = PHOTOS / "foot_ulcer/images"


@pytest.fixture(scope="module")
def photos():
    return textures(16, size=(120, 160))


@pytest.fixture(scope="module")
def prints(photos):
    return [photo_print(photo) for photo in photos]


def test_different_photos_are_not_alike(prints):
    assert find_duplicates(prints, LOOKALIKE) == []
    assert find_duplicates([]) == find_duplicates(prints[:1]) == []


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_named(photos, prints, name):
    kind, copy = COPIES[name]
    copied = [photo_print(copy(photo)) for photo in photos]
    found = find_duplicates([*prints, *copied])
    n = len(photos)
    assert {(one.first, one.second) for one in found} == {(i, n + i) for i in range(n)}
    assert {one.kind for one in found} == {kind}
    assert all(COPY <= one.similarity <= 1 for one in found)


def test_all_eight_positions_of_a_photo_are_one_group(photos):
    turns = [np.rot90(photo, k) for photo in photos[:3] for k in range(4)]
    prints = [photo_print(turn) for turn in turns]
    prints += [photo_print(turn[:, ::-1]) for turn in turns]
    found = find_duplicates(prints)
    groups = duplicate_groups(found)
    assert groups == [[*range(a, a + 4), *range(a + 12, a + 16)] for a in (0, 4, 8)]
    kinds = {(one.first, one.second): one.kind for one in found}
    for (first, second), kind in kinds.items():
        mirror = (first < 12) != (second < 12)
        assert kind == ("mirrored" if mirror else "turned")


def test_equal_pixels_are_exact_in_any_file(tmp_path, photos):
    """Also where EXIF turns them."""
    Image.fromarray(photos[0]).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90°
    Image.fromarray(np.rot90(photos[0])).save(tmp_path / "b.png", exif=exif)
    Image.fromarray(photos[0]).save(tmp_path / "c.webp", lossless=True)
    Image.fromarray(photos[1]).save(tmp_path / "d.png")
    names = ["a.png", "b.png", "gone.png", "c.webp", "d.png", "e.png"]
    (tmp_path / "e.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    annotations = [PhotoAnnotation(name, name, "wart") for name in names]
    prints, rejects = read_prints(tmp_path, annotations)
    unread = [name for name, given in zip(names, prints, strict=True) if given is None]
    assert unread == ["gone.png", "e.png"]
    assert [reject.item for reject in rejects] == ["gone.png", "e.png"]
    assert rejects[0].reason == "does not exist"
    assert "truncated" in rejects[1].reason
    assert (prints[0].height, prints[0].width) == photos[0].shape[:2]
    found = find_duplicates(prints)
    assert [(one.first, one.second, one.kind) for one in found] == [
        (0, 1, "exact"),
        (0, 3, "exact"),
    ]


def size_or_crash(annotation):
    """A decoder of a kind: at one photo it crashes, at another it fails."""
    if annotation.image == "crash.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    if annotation.image == "fails.png":
        raise ValueError("is\nbad")
    return len(annotation.image)


def test_a_crash_costs_one_photo(tmp_path):
    names = ["a.png", "crash.png", "bcd.png", "fails.png", "ef.png"]
    annotations = [PhotoAnnotation(name, name, "wart") for name in names]
    found, rejects = map_photos(
        size_or_crash, tmp_path, annotations, workers=2, crash_safe=True
    )
    assert found == [5, None, 7, None, 6]
    assert {reject.item: reject.reason for reject in rejects} == {
        "crash.png": "the decoder crashed (signal 11, SIGSEGV)",
        "fails.png": "is bad",
    }


def test_processes_read_what_threads_read(photos, tmp_path):
    for name, photo in zip(("a.png", "b.png", "c.png"), photos, strict=False):
        Image.fromarray(photo).save(tmp_path / name)
    (tmp_path / "d.png").write_bytes(b"")
    names = ["a.png", "b.png", "c.png", "d.png", "gone.png"]
    annotations = [PhotoAnnotation(name, name, "wart") for name in names]
    (ours, our_rejects), (theirs, their_rejects) = (
        read_prints(tmp_path, annotations, 2, crash_safe=safe) for safe in (True, False)
    )
    assert our_rejects == their_rejects and len(our_rejects) == 2
    for a, b in zip(ours, theirs, strict=True):
        assert (a and a.digest) == (b and b.digest)


def test_more_copies_than_are_compared_stay_together(photos, prints):
    copies = [photo_print(jpeg(photos[5], quality)) for quality in range(40, 95, 2)]
    assert len(copies) > 2 * NEIGHBOURS
    [group] = duplicate_groups(find_duplicates([*prints, *copies, *copies]))
    assert group == [5, *range(len(prints), len(prints) + 2 * len(copies))]


def test_photos_without_contrast_are_alike_only_if_equal():
    flat = [photo_print(np.full((50, 60, 3), code, np.uint8)) for code in (90, 91, 90)]
    found = find_duplicates(flat)
    assert [(one.first, one.second, one.kind) for one in found] == [(0, 2, "exact")]


def test_less_similar_photos_are_lookalikes(photos, prints):
    """Half of a photo's contrast is another photo's."""
    mixed = (0.75 * photos[0] + 0.25 * photos[1]).astype(np.uint8)
    given = [*prints, photo_print(mixed)]
    assert find_duplicates(given, 0.98) == []
    [found] = find_duplicates(given, 0.75)
    assert (found.first, found.second) == (0, len(prints))
    assert (found.kind == "lookalike") == (found.similarity < COPY)


def test_workers_change_nothing(photos, prints):
    given = [*prints, *(photo_print(cropped(photo)) for photo in photos)]
    assert find_duplicates(given, workers=1) == find_duplicates(given, workers=3)


def test_a_similarity_out_of_range_is_an_error(prints):
    with pytest.raises(InputError, match="similarity 1.5"):
        find_duplicates(prints, 1.5)


def test_connected_agrees_with_scipy():
    rng = np.random.default_rng(0)
    links = rng.integers(200, size=(120, 2))
    count, labels = connected_components(
        coo_matrix((np.ones(120), links.T), (200, 200)), directed=False
    )
    expected = [np.flatnonzero(labels == label).tolist() for label in range(count)]
    expected = [group for group in expected if len(group) > 1]
    found = [group for group in connected(map(tuple, links.tolist())) if len(group) > 1]
    assert found == sorted(expected)


def test_the_same_file_in_two_splits_is_told(tmp_path):
    files = {"a": b"one", "b": b"two", "c": b"one", "d": b"one", "e": b"", "f": b""}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe")
    places = {"a": "train", "b": "test", "c": "test", "d": "train", "e": "train"}
    places |= {"f": "test", "pipe": "test", "gone": "test"}
    annotations = [
        PhotoAnnotation(name, f"case {name}", "wart", split=split)
        for name, split in places.items()
    ]
    found = same_files_across_splits(tmp_path, annotations, case_splits(annotations))
    pairs = [(one.image, other.image) for one, other in found]
    assert pairs == [("c", "a"), ("d", "c")]


@needs(FOOT_ULCERS)
def test_planted_copies_of_real_photos_are_found():
    paths = sorted(FOOT_ULCERS.glob("*.jpg"))[::32]
    photos = [read_photo(path) for path in paths]
    prints = [photo_print(photo) for photo in photos]
    n = len(prints)
    planted = [
        photo_print(copy(photo)) for _, copy in COPIES.values() for photo in photos
    ]
    found = find_duplicates([*prints, *planted])
    groups = duplicate_groups(found)
    assert groups == [[*range(i, n * (1 + len(COPIES)), n)] for i in range(n)]


def test_a_print_is_small_and_of_a_fixed_shape(photos):
    small = photo_print(halved(photos[0]))
    assert small.thumbnail.shape == (64, 64) and small.thumbnail.dtype == np.uint8
    grey = cv2.cvtColor(photos[0], cv2.COLOR_RGB2GRAY)
    assert abs(float(small.thumbnail.mean()) - grey.mean()) < 1
