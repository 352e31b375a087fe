import csv

import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.labels import (
    LabelCount,
    map_labels,
    read_label_map,
    write_label_report,
)
from dermgan_tf.photos.importers.names import (
    case_finder,
    joined_cases,
    links_of_name,
    settled_splits,
    split_of_word,
    splits_of_folders,
)
from dermgan_tf.photos.semantic_map import Roi

LARGE, SMALL = (0, 0, 0.5, 0.5), (0.6, 0.6, 0.7, 0.7)


def photo(name, condition, *rois, split=None):
    rois = [Roi(box, label) for label, box in rois]
    return PhotoAnnotation(f"{name}.jpg", name, condition, 0, rois, split)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "label,condition\nNV, nevus \n\nMEL,melanoma\nscale bar,\n"),
        ("a.csv", 'NV,nevus\n"MEL",melanoma\nscale bar,""\n'),
        ("a.yaml", "# ours\nNV: nevus\nMEL: 'melanoma'\nscale bar:\n"),
        ("a.yml", 'NV: nevus\nMEL: melanoma\nscale bar: ""\n'),
        ("a.json", '{"NV": "nevus", "MEL": "melanoma", "scale bar": null}'),
    ],
)
def test_label_maps_of_three_kinds(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    assert read_label_map(path) == {"NV": "nevus", "MEL": "melanoma", "scale bar": ""}


def test_words_that_yaml_takes_for_values_stay_texts(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("no: yes\n3: 4.0\nnull: on\n")
    assert read_label_map(path) == {"no": "yes", "3": "4.0", "null": "on"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "a,b", "is not a .csv, .yaml, .yml or .json file"),
        ("a.csv", "a,b\nc\n", "row 2 has 1 columns"),
        ("a.csv", "a,b\na,c\n", "label 'a' has two conditions, 'b' and 'c'"),
        ("a.json", '{"a": "b", "a": "c"}', "label 'a' has two conditions"),
        ("a.json", '{"a": ["b"]}', "not a mapping of labels"),
        ("a.json", '{"a": ', "is not YAML or JSON"),
        ("a.yaml", "- a\n", "not a mapping of labels"),
        ("a.yaml", "a: [" * 3000, "is not YAML or JSON"),
        ("a.yaml", "", "is empty"),
        ("a.csv", ",b\n", "cannot be shown"),
    ],
)
def test_label_maps_that_cannot_be_used(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_label_map(path)
    with pytest.raises(InputError, match="cannot read"):
        read_label_map(tmp_path / "none.csv")


ANNOTATIONS = [
    photo("a", "NV", ("NV", LARGE), ("MEL", SMALL)),
    photo("b", "ruler", ("ruler", LARGE), ("MEL", SMALL)),
    photo("c", "ruler", ("ruler", LARGE)),
    photo("d", "BCC"),
    photo("e", "ruler"),
]
LABELS = {"NV": "nevus", "MEL": "melanoma", "ruler": "", "SCC": "SCC/SCCIS"}


def test_labels_are_mapped_kept_and_dropped():
    mapped, report = map_labels(ANNOTATIONS, LABELS)
    assert mapped == [
        photo("a", "nevus", ("nevus", LARGE), ("melanoma", SMALL)),
        photo("b", "melanoma", ("melanoma", SMALL)),
        photo("d", "BCC"),
    ]
    assert report == [
        LabelCount("BCC", "BCC", "kept", 1, 0),
        LabelCount("MEL", "melanoma", "mapped", 0, 2),
        LabelCount("NV", "nevus", "mapped", 1, 1),
        LabelCount("ruler", "", "left out", 3, 2),
        LabelCount("SCC", "SCC/SCCIS", "not met", 0, 0),
    ]


def test_only_mapped_labels_stay():
    mapped, report = map_labels(ANNOTATIONS, {"MEL": "melanoma"}, only_mapped=True)
    assert mapped == [
        photo("a", "melanoma", ("melanoma", SMALL)),
        photo("b", "melanoma", ("melanoma", SMALL)),
    ]
    what = {line.label: line.what for line in report}
    assert what == {
        "BCC": "left out",
        "MEL": "mapped",
        "NV": "left out",
        "ruler": "left out",
    }


def test_labels_that_become_one_count_together():
    parts = [("p", (0, 0, 0.3, 0.3)), ("q", (0.5, 0.5, 0.8, 0.8))]
    one = photo("a", "x", ("x", (0, 0, 0.4, 0.4)), *parts)
    mapped, _ = map_labels([one], {"p": "y", "q": "y"})
    assert mapped[0].condition == "y"  # 0.18 of the photo, x has 0.16


def test_label_report_file(tmp_path):
    _, report = map_labels(ANNOTATIONS, LABELS)
    write_label_report(tmp_path / "label_report.csv", report)
    with open(tmp_path / "label_report.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["label", "condition", "what", "photos", "boxes"]
    assert rows[4] == ["ruler", "", "left out", "3", "2"]


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train2017", "train"),
        ("Validation", "validation"),
        ("val", "validation"),
        ("testing", "test"),
        ("patch test", None),
        ("training room", None),
        ("test1", None),
        ("eczema", None),
        ("", None),
    ],
)
def test_only_a_whole_word_names_a_split(word, split):
    assert split_of_word(word) == split


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["images/train/a.jpg", "images/val/b/c.jpg"], ["train", "validation"]),
        (["train/images/a.jpg", "test/images/b.jpg"], ["train", "test"]),
        (["obj_train_data/a.jpg", "obj_Valid_data/b.jpg"], ["train", "validation"]),
        (["train/a.xml", "test/b.xml"], ["train", "test"]),
        (["images/train/a.jpg", "images/test/b.jpg", "images/eczema/c.jpg"], None),
        (["images/patch test/a.jpg", "images/clinic/b.jpg"], None),
        (["images/a.jpg", "images/test/b.jpg"], None),
        (["arm/train/a.jpg", "leg/test/b.jpg"], None),
        ([], None),
    ],
)
def test_folders_name_splits_all_together_or_not_at_all(paths, splits):
    expected = dict(zip(paths, splits, strict=True)) if splits else {}
    assert splits_of_folders(paths) == expected


def test_what_links_photos_joins_their_cases():
    photos = [
        ("a.jpg", [("patient", "1"), ("lesion", "L1")]),
        ("b.jpg", [("lesion", "L1")]),  # the same lesion, so the same patient
        ("c.jpg", [("patient", "2")]),
        ("d.jpg", [("lesion", "2")]),  # another thing called 2
        ("x/e.jpg", []),
        ("x/e_flip.jpg", []),
        ("p07/f.jpg", []),
        ("p07/g.jpg", []),
    ]
    cases = joined_cases(photos)
    assert cases == [
        *(("1", "patient"), ("1", "patient")),
        *(("patient 2", "patient"), ("lesion 2", "lesion")),
        *(("x/e", "photo"), ("x/e", "photo")),
        *(("p07", "folder"), ("p07", "folder")),
    ]
    assert joined_cases(photos[::-1]) == cases[::-1]


@pytest.mark.parametrize(
    ("copy", "original"),
    [
        ("train/7_jpg.rf.0a1b2c3d4e5f.jpg", "7"),
        ("valid/7_png.rf.ffffffffffff.png", "7"),
        ("a/arm_aug_3.jpg", "a/arm"),
        ("a/arm-hflip.jpg", "a/arm"),
        ("a/arm_rot90_bright.jpg", "a/arm"),
        ("a/mirrored_arm.jpg", "a/arm"),
        ("a/acne_original_arm.jpg_0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f.jpg", "a/arm"),
        ("a/arm (1).jpg", "a/arm"),
        ("a/arm - Copy.jpg", "a/arm"),
        ("a/other (1).jpg", "a/other (1)"),  # there is no other.jpg
        ("a/flipper.jpg", "a/flipper"),
        ("train/patient_3/left.jpg", "patient_3"),
        ("p3/visit2/left.jpg", "p3"),
        ("17/left.jpg", "17/left"),
        ("p/left.jpg", "p/left"),
    ],
)
def test_names_of_copies_and_of_patients_folders(copy, original):
    ((_, case),) = links_of_name(copy, {"a/arm"})
    assert case == original


def test_splits_are_kept_unless_they_say_nothing():
    two = [photo("a", "x", split="train"), photo("b", "x", split="test")]
    assert settled_splits(two) == two
    assert {a.split for a in settled_splits(two, keep=False)} == {None}
    assert settled_splits(two[:1])[0].split is None
    assert settled_splits([]) == []


def test_cases_in_names():
    assert case_finder("")("train/c1_2.jpg") == "train/c1_2"
    assert case_finder("^[^_]+")("train/c1_2.jpg") == "c1"
    assert case_finder(r"_(\d)")("train/c1_2.jpg") == "2"
    assert case_finder("^(.*)/(?P<case>c.)")("train/c1_2.jpg") == "c1"
    with pytest.raises(InputError, match="no case in its name"):
        case_finder("^x")("c1.jpg")
    with pytest.raises(InputError, match="no regular expression"):
        case_finder("(")
