"""Cleaning: one split for cases that share a photo, doubles of a case dropped."""

import json

import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.inspection.dedupe import dedupe, read_with_clashes, require_no_clashes
from dermgan_tf.inspection.duplicates import PhotoPrint
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    read_annotations,
    split_of_case,
    write_annotations,
)
from dermgan_tf.photos.semantic_map import Roi


def photo(name, case, split=None, rois=0):
    boxes = [Roi((0.1, 0.1, 0.2, 0.2 + i / 10), "wart") for i in range(rois)]
    return PhotoAnnotation(f"{name}.png", case, "wart", split=split, rois=boxes)


def prints_of(digests):
    return [d and PhotoPrint(d, 20, 20, None) for d in digests]


def cleaned(annotations, groups, digests=None):
    prints = prints_of(digests or [str(n) for n in range(len(annotations))])
    return dedupe(annotations, prints, groups)


def moves(changes):
    return {c.case_id: (c.before, c.after) for c in changes if c.change == "moved"}


def test_cases_that_share_a_photo_go_to_the_earliest_split():
    given = [
        photo("a", "1", "test"),
        photo("b", "2", "train"),
        photo("c", "3", "validation"),
        photo("d", "4", "test"),
        photo("e", "5", "test"),
        photo("f", "1", "test"),
    ]
    new, changes = cleaned(given, [[0, 1], [2, 3]])
    assert moves(changes) == {"1": ("test", "train"), "4": ("test", "validation")}
    splits = {one.case_id: one.split for one in new}
    assert splits.pop("5") == "test"
    assert [*splits.values()] == ["train", "train", "validation", "validation"]
    # All photos of a moved case move, and nothing else changes.
    assert [one.image for one in new] == [one.image for one in given]
    assert all(c.reason == "shares a photo with 1 other case" for c in changes)


def test_a_chain_of_cases_is_one_group():
    given = [photo("a", "1", "test"), photo("b", "2", "test"), photo("c", "2", "test")]
    given += [photo("d", "3", "train")]
    new, changes = cleaned(given, [[0, 1], [2, 3]])
    assert {one.split for one in new} == {"train"}
    assert {c.reason for c in changes} == {"shares a photo with 2 other cases"}


def test_splits_by_hash_are_written_down_and_never_leave_train():
    cases = [str(n) for n in range(60)]
    given = [photo(case, case) for case in cases]
    groups = [[n, n + 30] for n in range(30)]
    new, changes = cleaned(given, groups)
    order = ["train", "validation", "test"]
    for n in range(30):
        before = [split_of_case(case) for case in (cases[n], cases[n + 30])]
        expected = min(before, key=order.index)
        assert [new[n].split, new[n + 30].split] == [expected] * 2
    assert moves(changes)
    assert not any(before == "train" for before, _ in moves(changes).values())
    assert len(new) == 60


def test_exact_doubles_of_a_case_are_dropped():
    given = [
        photo("a", "1", "train"),
        photo("b", "1", "train", rois=2),
        photo("c", "1", "train", rois=1),
        photo("d", "2", "train"),
        photo("e", "1", "train"),
        photo("f", "1", "train"),
    ]
    new, changes = cleaned(given, [[0, 1, 2, 3]], ["x", "x", "x", "x", None, None])
    assert [one.image for one in new] == ["b.png", "d.png", "e.png", "f.png"]
    dropped = {c.image: c.reason for c in changes}
    assert dropped == {
        "a.png": "the same pixels as b.png",
        "c.png": "the same pixels as b.png",
    }


def test_other_rois_of_a_dropped_photo_are_told():
    other = PhotoAnnotation(
        "b.png", "1", "wart", rois=[Roi((0.5, 0.5, 0.9, 0.9), "wart")], split="train"
    )
    new, [change] = cleaned(
        [photo("a", "1", "train", rois=1), other], [[0, 1]], ["x", "x"]
    )
    assert [one.image for one in new] == ["a.png"]
    assert change.reason == "the same pixels as a.png, which has other ROIs"


def test_a_case_whose_lines_clash_is_kept_and_put_in_one_split(tmp_path):
    path = tmp_path / "annotations.jsonl"
    lines = [
        {"image": "a.png", "case_id": "1", "condition": "wart", "split": "test"},
        {"image": "./b.png", "case_id": "1", "condition": "wart", "split": "train"},
        {"image": "c.png", "case_id": "2", "condition": "wart", "split": "tset"},
        {"image": "d.png", "case_id": "3", "condition": "wart"},
        {"image": "a.png", "case_id": "4", "condition": "wart", "split": "train"},
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n{not json\n\n"
    path.write_text("\ufeff" + text, "utf-8")
    assert len(read_annotations(path)[1]) == 4  # one for the clash
    annotations, rejects, clashes = read_with_clashes(path)
    assert [(one.image, one.split) for one in annotations] == [
        ("a.png", "test"),
        ("b.png", "train"),
        ("d.png", None),
    ]
    assert clashes == {"1": ["train", "test"]}
    assert [reject.item for reject in rejects] == [
        f"annotations.jsonl:{n}" for n in (3, 5, 6)
    ]
    with pytest.raises(InputError, match="case '1' is in splits train and test; do"):
        require_no_clashes(clashes, path, "do")
    new, changes = cleaned(annotations, [])
    assert moves(changes) == {"1": ("train+test", "train")}
    write_annotations(tmp_path / "clean.jsonl", new)
    assert read_annotations(tmp_path / "clean.jsonl") == (new, [])


def test_without_clashes_the_same_is_read(tmp_path):
    given = [photo("a", "1", "test", rois=2), photo("b", "2"), photo("c", "1", "test")]
    write_annotations(tmp_path / "annotations.jsonl", given)
    with open(tmp_path / "annotations.jsonl", "ab") as file:
        file.write(b'{"image": "\xff"}\n[]\n{"image": 3, "split": "train"}\n')
    expected = read_annotations(tmp_path / "annotations.jsonl")
    assert read_with_clashes(tmp_path / "annotations.jsonl") == (*expected, {})
    with pytest.raises(InputError, match="cannot read annotations"):
        read_with_clashes(tmp_path / "none.jsonl")
