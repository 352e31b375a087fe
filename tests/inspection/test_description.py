import collections
import io
import json
import pathlib
import re
import statistics

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.inspection.description import (
    SHEET_PHOTOS,
    describe_annotations,
    describe_pairs,
)
from dermgan_tf.phantom import write_phantom
from dermgan_tf.photos.annotations import split_of_case
from dermgan_tf.photos.photo_io import read_photo
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES, Roi
from dermgan_tf.photos.skin_tone import (
    estimate_skin_type,
    fitzpatrick_from_ita,
    skin_ita,
)
from dermgan_tf.reports.description import (
    draw_figures,
    draw_sheets,
    summary_lines,
    write_description,
)
from tests.helpers.near_copies import jpeg
from tests.helpers.tiny_pairs import make_tiny_pairs

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "describe.md"
ODD = "<b>odd</b> & rare"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Phantom photos, and what real data sets have besides."""
    folder = tmp_path_factory.mktemp("clinic") / "data"
    folder.mkdir()
    path = pathlib.Path(write_phantom(folder, 9, 3, photo_size=(120, 160)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    first = read_photo(folder / lines[0]["image"])
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "JANE DOE", "DOCTOR WHO"
    Image.fromarray(first).save(folder / "photos/janedoe.png", exif=exif)
    Image.fromarray(jpeg(first[:, ::-1], 80)).save(folder / "photos/janedoe2.png")
    (folder / "photos/janebad.jpg").write_bytes(b"")
    box = {"box": [0.5, 0.5, 0.51, 0.52]}
    extra = {"case_id": "jane-case", "condition": ODD, "fitzpatrick": None}
    extra["source"] = "real"
    lines += [
        {**extra, "image": "photos/janedoe.png", "rois": [box], "split": "test"},
        {**extra, "image": "photos/janedoe2.png", "rois": [], "split": "train"},
        {**extra, "image": "photos/janebad.jpg", "case_id": "jane-bad"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no\n")
    return path


@pytest.fixture(scope="module")
def described(clinic):
    return describe_annotations(clinic, workers=2)


@pytest.fixture(scope="module")
def lines(clinic):
    """The good lines, read by json alone."""
    found = [json.loads(line) for line in clinic.read_text().splitlines()[:-2]]
    return [line for line in found if "janebad" not in line["image"]]


def test_counts_are_those_of_the_file(described, lines):
    numbers = described.numbers
    counts = numbers["counts"]
    of_case = collections.Counter(line["case_id"] for line in lines)
    assert counts["photos"] == len(lines) and counts["crops"] is None
    assert counts["cases"] == len(of_case)
    assert counts["photos_per_case"]["mean"] == pytest.approx(
        statistics.mean(of_case.values()), abs=1e-3
    )
    assert counts["photos_per_case"]["quantiles"]["p50"] == statistics.median(
        of_case.values()
    )
    assert counts["photos_per_case"]["histogram"] == {
        str(k): v for k, v in sorted(collections.Counter(of_case.values()).items())
    }
    assert numbers["sources"] == {"phantom": len(lines) - 2, "real": 2}
    types = collections.Counter(
        (line["condition"], line["fitzpatrick"] or 0) for line in lines
    )
    for row in numbers["conditions"]:
        for skin_type, count in enumerate(row["photos_by_skin_type"]):
            assert count == types.pop((row["condition"], skin_type), 0)
        assert row["photos"] == sum(row["photos_by_skin_type"])
    assert not types
    photos = [row["photos"] for row in numbers["conditions"]]
    assert photos == sorted(photos, reverse=True)
    splits = collections.Counter(
        line.get("split") or split_of_case(line["case_id"]) for line in lines
    )
    for split, found in numbers["splits"].items():
        assert found["photos"] == splits[split]
    assert sum(found["stated"] for found in numbers["splits"].values()) == 2
    assert numbers["cases_in_several_splits"] == 1


def test_rois_and_resolutions_are_those_of_the_file(described, lines):
    rois = described.numbers["rois"]
    boxes = np.array([roi["box"] for line in lines for roi in line["rois"]])
    sides = np.sort(boxes[:, 2:] - boxes[:, :2], axis=1)
    assert rois["count"] == len(boxes) == sum(rois["longer_side_histogram"])
    for name, column in (("shorter_side", 0), ("longer_side", 1)):
        for q in (0, 5, 50, 100):
            assert rois[name][f"p{q}"] == pytest.approx(
                np.percentile(sides[:, column], q), abs=1e-4
            )
    assert rois["photos_without"] == sum(not line["rois"] for line in lines)
    assert rois["small"] == (sides[:, 0] * 256 < 4).sum() >= 1
    resolutions = described.numbers["resolutions"]
    # EXIF turns a fifth of the phantoms' files; all are read upright.
    assert resolutions["most_common"] == [
        {"width": 160, "height": 120, "photos": len(lines)}
    ]
    assert resolutions["small"] == len(lines)


def test_ita_is_the_one_that_skin_types_are_estimated_by(clinic, described, lines):
    estimated = collections.Counter()
    for line in lines:
        photo = read_photo(clinic.parent / line["image"])
        rois = [Roi(tuple(roi["box"]), "x") for roi in line["rois"]]
        expected = estimate_skin_type(photo, rois)
        ita = skin_ita(photo, rois)
        assert expected == (0 if np.isnan(ita) else fitzpatrick_from_ita(ita))
        estimated[line["fitzpatrick"] or 0, expected] += 1
    for row in described.numbers["skin_types"]:
        skin_type = row["fitzpatrick"]
        assert row["name"] == SKIN_TYPE_NAMES[skin_type]
        assert row["ita"]["types_by_colour"] == [
            estimated[skin_type, found] for found in range(1, 7)
        ]
        assert sum(row["ita"]["histogram"]) == row["ita"]["photos"]
    shares = [row["share_of_known"] for row in described.numbers["skin_types"][1:]]
    assert sum(shares) == pytest.approx(1)
    assert np.isnan(skin_ita(np.zeros((64, 64, 3), np.uint8)))


def test_copies_are_found(described):
    copies = described.numbers["duplicates"]
    # The first photo, its copy in another case, and that one's mirror image.
    assert (copies["groups"], copies["photos"]) == (1, 3)
    assert copies["groups_across_cases"] == 1
    assert copies["groups_across_splits"] == 1
    assert copies["groups_of_several_conditions"] == 1
    assert copies["pairs"]["exact"] == 1 and copies["pairs"]["mirrored"] == 1


def test_what_will_be_hard_is_told(described):
    told = [f"{one['about']}: {one['what']}" for one in described.numbers["hard"]]
    text = "\n".join(told)
    for part in (
        "cases in more than one split: 1 ",
        "groups of copies in more than one split: 1;",
        "groups of copies said to show different conditions: 1",
        f"under 50 photos: {ODD} (2)",
        f"under 10 cases: {ODD} (1)",
        "skin types: unknown for 2 of",
        "photos without ROI: ",
        "ROIs: under 4 pixels in a photo of 256 a side: ",
        "photos under 256 pixels a side: ",
        "sources: mixed: phantom",
        "bad items that were left out: 2",
    ):
        assert part in text
    assert set(told) == {line.strip() for line in summary_lines(described.numbers)[4:]}


def test_bad_photos_are_listed(described, clinic, tmp_path):
    assert [reject.item for reject in described.rejects] == [
        f"annotations.jsonl:{len(clinic.read_text().splitlines())}",
        "photos/janebad.jpg",
    ]
    (tmp_path / "a.jsonl").write_text(
        '{"image": "no.png", "case_id": "c", "condition": "x"}\n'
    )
    with pytest.raises(InputError, match="nothing usable in the photos"):
        describe_annotations(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(InputError, match="describes no photo"):
        describe_annotations(tmp_path / "a.jsonl")


def test_the_report_is_one_page_that_names_no_patient(described, tmp_path):
    write_description(
        tmp_path, described.numbers, described.examples, described.rejects
    )
    names = {path.name for path in tmp_path.iterdir()}
    figures = {"conditions_by_skin_type.png", "splits.png", "photos_per_case.png"}
    figures |= {"roi_sizes.png", "skin_tone.png"}
    assert names == {
        *("report.html", "description.json", "rejects.csv", "examples_1.png"),
        *figures,
    }
    assert json.loads((tmp_path / "description.json").read_text()) == described.numbers
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "<script" not in page and "http" not in page and "@import" not in page
    assert "&lt;b&gt;odd&lt;/b&gt; &amp; rare" in page and "<b>odd" not in page
    assert "not for publication" in " ".join(page.split())
    for path in tmp_path.iterdir():
        if path.name != "rejects.csv":
            data = path.read_bytes()
            for secret in (b"JANE", b"DOCTOR", b"jane", b"photos/", b"Exif", b"eXIf"):
                assert secret not in data, (path.name, secret)
            assert b"phantom-" not in data and b"phantom_0" not in data
        if path.suffix == ".png":
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                assert not image.getexif()
                assert set(image.info) <= {"dpi"}


def test_without_photos_there_is_none(clinic):
    assert describe_annotations(clinic, examples=False).examples == {}
    assert draw_sheets({}) == {}


def test_examples_are_of_many_cases(described, lines):
    cases = collections.defaultdict(set)
    for line in lines:
        cases[line["condition"]].add(line["case_id"])
    for condition, shown in described.examples.items():
        assert len(shown) == min(SHEET_PHOTOS, len(cases[condition]))
        assert all(image.shape == (120, 160, 3) for image in shown)
    sheet = draw_sheets(described.examples)["examples_1.png"]
    assert sheet.dtype == np.uint8 and sheet.std() > 10


def test_boxes_are_drawn_where_they_are(tmp_path):
    Image.new("RGB", (100, 50), (200, 150, 120)).save(tmp_path / "a.png")
    line = {"image": "a.png", "case_id": "c", "condition": "x"}
    line["rois"] = [{"box": [0.2, 0.1, 0.8, 0.5]}]
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    [example] = describe_annotations(tmp_path / "a.jsonl").examples["x"]
    white = (example == 255).all(axis=-1)
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 39, 10, 49)


def test_pairs_are_described(tmp_path):
    described = describe_pairs(make_tiny_pairs(tmp_path / "tiny"))
    numbers = described.numbers
    assert numbers["kind"] == "pairs"
    counts = numbers["counts"]
    assert (counts["photos"], counts["crops"], counts["cases"]) == (15, 15, 15)
    assert numbers["splits"]["train"]["cases"] == 12
    found = {row["condition"]: row["photos"] for row in numbers["conditions"]}
    assert found == {"melanoma": 8, "eczema": 7}
    assert [row["photos"] for row in numbers["skin_types"]] == [0, 5, 5, 5, 0, 0, 0]
    assert numbers["resolutions"]["most_common"][0]["width"] == 64
    assert set(described.examples) == {"melanoma", "eczema"}
    write_description(
        tmp_path, described.numbers, described.examples, described.rejects
    )
    assert "15 crops of them" in (tmp_path / "report.html").read_text()


def test_every_number_is_documented(described):
    documented = set(re.findall(r"[a-z_0-9]+", DOCS.read_text()))

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    found = {key for key in keys(described.numbers) if not key.isdigit()}
    assert len(found) > 50
    assert not found - documented


def test_figures_need_no_rois_and_no_skin(tmp_path):
    Image.new("RGB", (64, 64), (0, 0, 0)).save(tmp_path / "a.png")
    line = {"image": "a.png", "case_id": "c", "condition": "x"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    described = describe_annotations(tmp_path / "a.jsonl")
    assert "roi_sizes.png" not in draw_figures(described.numbers)
    assert "skin_tone.png" not in draw_figures(described.numbers)
    write_description(
        tmp_path, described.numbers, described.examples, described.rejects
    )
