"""Fitzpatrick17k, SCIN, DDI, HAM10000, ISIC and class folders, in their layouts."""

import collections
import csv

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.importers.class_folders import import_class_folders
from dermgan_tf.photos.importers.isic import import_ham10000, import_isic
from dermgan_tf.photos.importers.published import (
    import_ddi,
    import_fitzpatrick17k,
    import_scin,
    top_condition,
)
from dermgan_tf.photos.importers.tables import parse_id, parse_skin_type, read_table
from dermgan_tf.photos.semantic_map import Roi
from tests.helpers.real_photos import PHOTOS, needs

SKIN = (209, 158, 122)


def photo(path, width=32, height=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), SKIN).save(path)


def mask(path, top, left, bottom, right, size=32):
    values = np.zeros((size, size), np.uint8)
    values[top:bottom, left:right] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def table(path, header, *rows, encoding="utf-8", delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def assert_rejected(rejects, expected):
    found = {reject.item: reject.reason for reject in rejects}
    assert found.keys() == expected.keys()
    for item, reason in expected.items():
        assert found[item].startswith(reason), found[item]


# --- tables


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_any_spreadsheet(tmp_path, encoding, delimiter):
    path = table(
        tmp_path / "a.csv",
        ["id", " label "],
        ["1", "lupus érythémateux"],
        [" 2 ", "two\nlines"],
        ["3"],
        ["", "N/A"],
        ["4", "one", "too many"],
        ["5", "unknown", " "],
        encoding=encoding,
        delimiter=delimiter,
    )
    read = read_table(path, ["id", "label"])
    assert read.rows == (
        (2, {"id": "1", "label": "lupus érythémateux"}),
        (4, {"id": "2", "label": "two\nlines"}),
        (6, {"id": "", "label": ""}),
        (8, {"id": "5", "label": ""}),
    )
    assert_rejected(
        read.rejects,
        {"a.csv:5": "has 1 cells, the header 2", "a.csv:7": "has 3 cells"},
    )
    told = {"latin-1": "Windows-1252", "utf-16": "UTF-16"}.get(encoding)
    expected = {f"tables read as {told}": 1} if told else {}
    named = {";": "semicolons", "\t": "tabs", "|": "bars"}.get(delimiter)
    expected |= {f"tables separated by {named}": 1} if named else {}
    assert read.notes == expected


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "none.csv", [])
    with pytest.raises(InputError, match="is not a file"):
        read_table(tmp_path, [])
    path = tmp_path / "a.csv"
    for content, words in [
        (b'a,b\n1,2\n"' + b"x" * 200_000, "is not CSV: .* quotes on line 3"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "quotes on line 3"),
        (b'a,b,c\n1,"2,3\n4,5",6\n', "opened on line 2 takes in line 3"),
        (b"a,b\n\xe9,2\n\xc3\xa9,2\n", "mixes UTF-8 .* on line 2"),
        (b"PK\x03\x04", "is a ZIP archive or an Excel workbook"),
        (b"\x1f\x8b\x08", "is compressed"),
        (b"a,b,a\n1,2,3\n", "has the column a twice"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_table(path, ["a"])
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column c; it has a, b"):
        read_table(path, ["a", "c"])


def test_tables_that_excel_and_programs_write(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nid;size;note;;\n1;2,5;a,b;;\n2;;;\n")
    read = read_table(path, ["id", "note"])
    assert [(line, row["id"], row["note"]) for line, row in read.rows] == [
        (3, "1", "a,b"),
        (4, "2", ""),
    ]
    path.write_bytes("id,label\n1,e\u0301cze\u0301ma\n".encode("utf-16-le"))
    assert read_table(path, ["id"]).rows[0][1]["label"] == "éczéma"
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": 1, "type": 3.0, "label": null}\n\n{"id": "2", "type": NaN}\n[1]\n{\n'
    )
    read = read_table(path, ["id", "label"])
    assert [row for _, row in read.rows] == [
        {"id": "1", "type": "3.0", "label": ""},
        {"id": "2", "type": "", "label": ""},
    ]
    assert [reject.item for reject in read.rejects] == ["a.jsonl:4", "a.jsonl:5"]


def test_ids_as_tables_write_them():
    assert parse_id("17.0", "patient") == "17"
    assert parse_id("-1000600354148496558", "case") == "-1000600354148496558"
    assert parse_id("1.5", "x") == "1.5"
    for text in ("1.23457E+18", "-1e+18"):
        with pytest.raises(InputError, match="rounded by a spreadsheet"):
            parse_id(text, "case")


def test_skin_types_as_tables_write_them():
    written = {"1": 1, "6.0": 6, "IV": 4, "FST2": 2, "": 0, "-1": 0, "0": 0}
    written |= {"-1.0": 0, "nan": 0, "NA": 0, "None": 0, "<NA>": 0, "unknown": 0}
    written |= {"Type III": 3, "FST V": 5, "fitzpatrick 2,0": 2, "Skin type II": 2}
    for text, value in written.items():
        assert parse_skin_type(text, "type") == value
    for text in ("7", "2.5", "dark", "VII", "FST", "II-III", "-2"):
        with pytest.raises(InputError, match=f"unknown type '{text}'"):
            parse_skin_type(text, "type")


# --- Fitzpatrick17k

FITZ = [
    "md5hash",
    "fitzpatrick_scale",
    "fitzpatrick_centaur",
    "label",
    "nine_partition_label",
    "three_partition_label",
    "qc",
    "url",
    "url_alphanum",
]


def fitz_row(md5, skin_type, label="melanoma", qc=""):
    nine, three = "malignant melanoma", "malignant"
    return [md5, skin_type, 3, label, nine, three, qc, "https://x/y", "httpsxy.jpg"]


def test_fitzpatrick17k(tmp_path):
    names = [f"{i:032x}" for i in range(9)]
    table(
        tmp_path / "fitzpatrick17k.csv",
        FITZ,
        fitz_row(names[0], 3),
        fitz_row(names[1], -1, "psoriasis"),
        fitz_row(names[2], 9),
        fitz_row(names[3], 2, qc="3 Wrongly labelled"),
        fitz_row(names[4], 2, qc="1 Diagnostic"),
        fitz_row(names[5], 2, label=""),
        fitz_row(names[6], 2),
        fitz_row("f" * 32, 2),
        fitz_row("", 2),
        fitz_row("../../etc/passwd", 2),
        fitz_row(names[0], 4),
        fitz_row(names[7], 1),
    )
    for i, suffix in enumerate(["jpg", "png", "jpg", "jpg", "jpeg", "jpg", "JPG"]):
        photo(tmp_path / f"images/{names[i]}.{suffix}")
    (tmp_path / f"images/{names[6]}.JPG").write_bytes(b"<html>")
    photo(tmp_path / f"images/{names[7]}.jpg")
    photo(tmp_path / f"more/{names[7]}.png")
    photo(tmp_path / f"images/{names[8]}.jpg")
    annotations, rejects, counts = import_fitzpatrick17k(tmp_path)
    assert [(a.image, a.condition, a.fitzpatrick) for a in annotations] == [
        (f"images/{names[1]}.png", "psoriasis", 0),
        (f"images/{names[4]}.jpeg", "melanoma", 2),
    ]
    assert {a.rois for a in annotations} == {()}
    expected = {
        "rows of the table": 12,
        "rows that name no photo": 1,
        "images absent": 1,
        "left out: wrongly labelled": 1,
        "left out: no label": 1,
        "photos without ROI": 2,
        "photos without entry": 1,
        "cases by photo": 2,
    }
    assert expected.items() <= counts.items()
    assert_rejected(
        rejects,
        {
            "fitzpatrick17k.csv:4": f"images/{names[2]}.jpg: unknown fitzpatrick_scale",
            "fitzpatrick17k.csv:11": "file name '../../etc/passwd' leads out",
            f"images/{names[6]}.JPG": "is HTML",
            "fitzpatrick17k.csv:12": f"images/{names[0]}.jpg stands already in "
            "fitzpatrick17k.csv:2",
            "fitzpatrick17k.csv:13": f"2 photos are called '{names[7]}'",
        },
    )
    coarse, _, _ = import_fitzpatrick17k(
        tmp_path, label_column="three_partition_label", case_pattern="^0+."
    )
    assert {a.condition for a in coarse} == {"malignant"}
    with pytest.raises(InputError, match="no column other"):
        import_fitzpatrick17k(tmp_path, label_column="other")
    with pytest.raises(InputError, match=r"cannot read .*fitzpatrick17k\.csv"):
        import_fitzpatrick17k(tmp_path / "images")


@needs(PHOTOS / "fitzpatrick17k")
def test_real_fitzpatrick17k_table(tmp_path):
    path = PHOTOS / "fitzpatrick17k/fitzpatrick17k.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = rows[:3] + [r for r in rows if r["fitzpatrick_scale"] == "-1"][:2]
    for row in chosen:  # the table is real, the photos are not
        photo(tmp_path / f"{row['md5hash']}.jpg")
    for column in ("label", "nine_partition_label", "three_partition_label"):
        annotations, rejects, counts = import_fitzpatrick17k(
            tmp_path, annotations_file=str(path), label_column=column
        )
        assert rejects == []
        assert counts["rows of the table"] == 16577
        assert counts["images absent"] == 16577 - 5
        assert collections.Counter(a.condition for a in annotations) == (
            collections.Counter(row[column] for row in chosen)
        )
    assert [a.fitzpatrick for a in annotations].count(0) == 2


@needs(PHOTOS / "fitzpatrick17k")
def test_every_skin_type_of_the_real_table_is_understood():
    rows = read_table(
        PHOTOS / "fitzpatrick17k/fitzpatrick17k.csv", ["fitzpatrick_scale", "label"]
    ).rows
    counts = collections.Counter(
        parse_skin_type(row["fitzpatrick_scale"], "type") for _, row in rows
    )
    assert counts == {0: 565, 1: 2947, 2: 4808, 3: 3308, 4: 2781, 5: 1533, 6: 635}
    assert len({row["label"] for _, row in rows}) == 114


# --- SCIN

CASES = ["case_id", "source", "fitzpatrick_skin_type"]
CASES += [f"image_{i}_path" for i in (1, 2, 3)]
LABELS = ["case_id", "weighted_skin_condition_label"]
LABELS += [f"dermatologist_fitzpatrick_skin_type_label_{i}" for i in (1, 2, 3)]


def scin(folder, cases, labels):
    table(folder / "scin_cases.csv", CASES, *cases)
    table(folder / "scin_labels.csv", LABELS, *labels)
    for row in cases:
        for name in row[3:]:
            if name and "absent" not in name and ".." not in name:
                photo(folder.parent / name)


def test_scin(tmp_path):
    def path(name):
        return f"dataset/images/{name}.png"

    cases = [
        ["-100", "SCIN", "FST1", path("1a"), path("1b"), path("absent")],
        ["200", "SCIN", "FST6", path("2"), "", ""],
        ["300", "SCIN", "", path("3"), "", ""],
        ["400", "SCIN", "", path("4"), "", ""],
        ["500", "SCIN", "", path("5"), "", ""],
        ["600", "SCIN", "", path("1a"), "", ""],
        ["700", "SCIN", "", "../../etc/x.png", "", ""],
        ["800", "SCIN", "", path("8"), "", ""],
        ["900", "SCIN", "", "", "", ""],
    ]
    labels = [
        ["-100", "{'Psoriasis': 0.31, 'Eczema': 0.69}", "FST4", "FST2", "FST4"],
        ["200", '{"Tinea": 0.5, "Acne": 0.5}', "FST3", "", "FST2"],
        ["300", "{}", "", "", ""],
        ["400", "__import__('os').system('x')", "", "", ""],
        ["500", "{'Acne': 1.0}", "FST9", "", ""],
        ["600", "{'Acne': 1.0}", "", "", ""],
        ["700", "{'Acne': 1.0}", "", "", ""],
    ]
    scin(tmp_path / "dataset", cases, labels)
    annotations, rejects, counts = import_scin(tmp_path)
    assert [(a.image, a.case_id, a.condition, a.fitzpatrick) for a in annotations] == [
        (path("1b"), "-100", "Eczema", 4),
        (path("2"), "200", "Tinea", 2),  # the first of equals; the lower of two
    ]
    assert counts["images absent"] == 1
    assert counts["left out: no label"] == 2  # 300, and 800, which has no row
    assert_rejected(
        rejects,
        {
            "scin_cases.csv:5": f"{path('4')}: weighted_skin_condition_label",
            "scin_cases.csv:6": f"{path('5')}: unknown skin type of a",
            "scin_cases.csv:7": "dataset/images/1a.png stands already in",
            "scin_cases.csv:8": "file name '../../etc/x.png' leads out",
        },
    )
    inside, _, _ = import_scin(tmp_path / "dataset")
    assert [a.image for a in inside] == [f"images/{n}.png" for n in ("1b", "2")]
    table(tmp_path / "dataset/scin_labels.csv", LABELS, labels[0], labels[0])
    with pytest.raises(InputError, match="case '-100' has two rows"):
        import_scin(tmp_path)


def test_weighted_labels():
    assert top_condition("{'A': 0.2, ' B ': 0.8}") == "B"
    assert top_condition("") == top_condition("{}") == ""
    for text in ("[1]", "{'A': 'x'}", "{1: 2}", "{'A': None}", "{" * 9000, "{'A'"):
        with pytest.raises(InputError, match="condition: weight pairs"):
            top_condition(text)


# --- DDI


@pytest.mark.parametrize("place", ["", "images"])
def test_ddi(tmp_path, place):
    header = ["", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"]
    rows = [
        [0, 1, "000001.png", 56, True, "melanoma-in-situ"],
        [1, 2, "000002.png", 12, False, "melanocytic-nevi"],
        [2, 3, "000003.png", 34, False, ""],
        [3, 4, "000004.png", 78, False, "acrochordon"],
        [4, 5, "absent.png", 12, False, "acrochordon"],
        [5, 6, "000001.png", 12, False, "acrochordon"],
        [6, 7, "/etc/x.png", 12, False, "acrochordon"],
        [7, 8, "000008.png", 12, "maybe", "acrochordon"],
    ]
    table(tmp_path / "ddi_metadata.csv", header, *rows)
    for i in (1, 2, 3, 4, 8):
        photo(tmp_path / place / f"00000{i}.png")
    at = f"{place}/" if place else ""
    annotations, rejects, counts = import_ddi(tmp_path)
    assert [(a.condition, a.fitzpatrick) for a in annotations] == [
        ("melanocytic-nevi", 0),
        ("acrochordon", 0),
    ]
    assert counts["images absent"] == 1
    assert counts["left out: no label"] == 1
    assert_rejected(
        rejects,
        {
            "ddi_metadata.csv:5": f"{at}000004.png: unknown skin_tone '78'; valid: 12",
            "ddi_metadata.csv:7": f"{at}000001.png stands already",
            "ddi_metadata.csv:8": "file name '/etc/x.png' leads out",
        },
    )
    table(tmp_path / "ddi_metadata.csv", header, *rows[:2], rows[7])
    for rule, types in (("lower", [5, 1]), ("upper", [6, 2])):
        told, rejects, _ = import_ddi(
            tmp_path, label_column="malignant", skin_tone=rule
        )
        assert [a.fitzpatrick for a in told][:2] == types
        assert [a.condition for a in told][:2] == ["malignant", "benign"]
        assert "unknown malignant 'maybe'" in rejects[-1].reason


# --- HAM10000 and ISIC

HAM = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("HAM10000_metadata.csv", ","), ("HAM10000_metadata", ","), ("x.tab", "\t")],
)
def test_ham10000(tmp_path, name, delimiter):
    rows = [
        ["HAM_1", f"ISIC_{i}", dx, "histo", "80.0", "male", "back"]
        for i, dx in enumerate(["bkl", "mel", "xyz", "nv", "nv", "nv"])
    ]
    path = table(tmp_path / name, HAM, *rows, rows[0], delimiter=delimiter)
    for i in range(5):
        photo(tmp_path / f"HAM10000_images_part_{1 + i % 2}/ISIC_{i}.jpg")
    masks = tmp_path / "HAM10000_segmentations_lesion_tschandl"
    mask(masks / "ISIC_0_segmentation.png", 8, 4, 24, 20)
    mask(masks / "ISIC_3_segmentation.png", 4, 2, 12, 10, size=16)  # at half size
    mask(masks / "ISIC_99_segmentation.png", 8, 4, 24, 20)
    photo(tmp_path / "HAM10000_images_part_1/ISIC_77.jpg")
    given = {"annotations_file": str(path)} if name == "x.tab" else {}
    annotations, rejects, counts = import_ham10000(tmp_path, **given)
    assert [(a.image, a.condition) for a in annotations] == [
        ("HAM10000_images_part_1/ISIC_0.jpg", "benign keratosis-like lesion"),
        ("HAM10000_images_part_2/ISIC_1.jpg", "melanoma"),
        ("HAM10000_images_part_2/ISIC_3.jpg", "melanocytic nevus"),
        ("HAM10000_images_part_1/ISIC_4.jpg", "melanocytic nevus"),
    ]
    box = (0.25, 0.125, 0.75, 0.625)
    assert annotations[0].rois == (Roi(box, "benign keratosis-like lesion"),)
    assert [roi.box for roi in annotations[2].rois] == [box]
    assert counts["photos told of again"] == 1  # the first row, twice
    assert {a.case_id for a in annotations} == {"HAM_1"}
    assert counts["images absent"] == 1
    assert counts["photos without mask"] == 2
    assert counts["masks without photo"] == 1  # ISIC_99
    assert counts["photos without entry"] == 1  # ISIC_77; masks are no photos
    assert_rejected(
        rejects,
        {
            f"{name}:4": "HAM10000_images_part_1/ISIC_2.jpg: unknown dx 'xyz'; known",
        },
    )


def test_isic(tmp_path):
    header = ["isic_id", "attribution", "copyright_license", "patient_id"]
    header += ["lesion_id", "diagnosis_1", "diagnosis_3", "fitzpatrick_skin_type"]
    told = ["Benign", "Nevus"]
    rows = [
        ["ISIC_0", "A", "CC-BY", "IP_1", "IL_1", *told, "II"],
        ["ISIC_1", "A", "CC-BY", "", "IL_1", *told, ""],
        ["ISIC_2", "A", "CC-BY", "", "", "Malignant", "Melanoma", "VI"],
        ["ISIC_3", "A", "CC-BY", "IP_1", "", "Benign", "", "I"],
        ["ISIC_4", "A", "CC-BY", "IP_1", "", *told, "X"],
        ["ISIC_5", "A", "CC-BY", "IP_1", "", *told, ""],
        ["ISIC_6", "A", "CC-BY", "IP_1", "", *told, ""],
    ]
    table(tmp_path / "metadata.csv", header, *rows, encoding="utf-8-sig")
    for i in range(6):
        photo(tmp_path / f"ISIC_{i}.JPG")
    (tmp_path / "ISIC_5.JPG").write_bytes(b"")
    mask(tmp_path / "masks/ISIC_0_Segmentation.png", 8, 4, 24, 20)
    annotations, rejects, counts = import_isic(tmp_path)
    assert [(a.case_id, a.condition, a.fitzpatrick) for a in annotations] == [
        ("IP_1", "Nevus", 2),
        ("IP_1", "Nevus", 0),  # by the lesion
        ("ISIC_2", "Melanoma", 6),
    ]
    assert annotations[0].rois == (Roi((0.25, 0.125, 0.75, 0.625), "Nevus"),)
    assert counts["left out: no label"] == 1
    assert counts["images absent"] == 1
    assert_rejected(
        rejects,
        {
            "metadata.csv:6": "ISIC_4.JPG: unknown fitzpatrick_skin_type 'X'",
            "ISIC_5.JPG": "is empty",
        },
    )
    coarse, _, _ = import_isic(tmp_path, label_column="diagnosis_1")
    assert {a.condition for a in coarse} == {"Benign", "Malignant"}
    table(tmp_path / "other.csv", ["a", "b"], ["1", "2"])
    with pytest.raises(InputError, match=r"metadata\.csv, other\.csv: name it by"):
        import_isic(tmp_path)
    with pytest.raises(InputError, match="no column isic_id or image_name or image"):
        import_isic(tmp_path, annotations_file=str(tmp_path / "other.csv"))


# --- class folders


def test_class_folders(tmp_path):
    for name in ("melanoma/1.jpg", "melanoma/2.jpg", "odd näme, 3/3.jpg"):
        photo(tmp_path / name)
    (tmp_path / "melanoma/4.jpg").write_bytes(b"")
    photo(tmp_path / "stray.jpg")
    annotations, rejects, _ = import_class_folders(tmp_path)
    assert [(a.image, a.case_id, a.condition, a.split) for a in annotations] == [
        ("melanoma/1.jpg", "1", "melanoma", None),
        ("melanoma/2.jpg", "2", "melanoma", None),
        ("odd näme, 3/3.jpg", "3", "odd näme, 3", None),
    ]
    assert_rejected(
        rejects, {"melanoma/4.jpg": "is empty", "stray.jpg": "lies in no class folder"}
    )
    with pytest.raises(InputError, match="cannot read folder"):
        import_class_folders(tmp_path / "nowhere")


def test_class_folders_of_splits(tmp_path):
    for name in ("train/a/p1_1.jpg", "train/a/p1_2.jpg", "val/b/p2.jpg"):
        photo(tmp_path / name)
    photo(tmp_path / "test/a/p3.jpg")
    annotations, _, _ = import_class_folders(tmp_path, case_pattern=r"^p\d+")
    assert {a.image: (a.case_id, a.split) for a in annotations} == {
        "train/a/p1_1.jpg": ("p1", "train"),
        "train/a/p1_2.jpg": ("p1", "train"),
        "val/b/p2.jpg": ("p2", "validation"),
        "test/a/p3.jpg": ("p3", "test"),
    }
