import csv
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers import estimate_skin_types, in_threads, place_photos
from dermgan_tf.photos.importers.class_folders import import_class_folders
from dermgan_tf.photos.importers.mask_folder import import_mask_folder
from dermgan_tf.photos.importers.published import import_pad_ufes_20
from dermgan_tf.photos.masks import mask_rois
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import Roi, box_pixels
from dermgan_tf.progress import silent
from tests.helpers.crashing_decoder import crashing_decoder
from tests.helpers.real_photos import PHOTOS, needs

SKIN = (209, 158, 122)


def photo(height=60, width=80, colour=SKIN):
    return Image.new("RGB", (width, height), colour)


def mask(*boxes, height=60, width=80, white=255):
    """White rectangles (top, left, bottom, right) on black."""
    values = np.zeros((height, width), np.uint8)
    for top, left, bottom, right in boxes:
        values[top:bottom, left:right] = white
    return Image.fromarray(values)


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    return images, masks


def reasons(rejects):
    return {reject.item: reject.reason for reject in rejects}


# --- mask folders


def test_regions_become_boxes_and_specks_are_counted(folders):
    images, masks = folders
    photo().save(images / "a.jpg")
    mask((5, 10, 25, 30), (5, 32, 25, 40), (50, 70, 52, 72)).save(masks / "a.png")
    annotations, rejects, counts = import_mask_folder(
        images, masks, "wound", min_region_area=0.001
    )
    assert rejects == []
    assert counts["specks ignored"] == 1
    assert "photos without ROI" not in counts
    (annotation,) = annotations
    assert (annotation.image, annotation.case_id) == ("a.jpg", "a")
    assert (annotation.condition, annotation.fitzpatrick) == ("wound", 0)
    # Regions two pixels apart stay apart.
    boxes = [box_pixels(roi.box, 60, 80) for roi in annotation.rois]
    assert sorted(boxes) == [(5, 10, 25, 30), (5, 32, 25, 40)]
    assert {roi.condition for roi in annotation.rois} == {"wound"}


def test_pixels_that_touch_at_corners_are_one_region():
    values = np.zeros((8, 8), bool)
    values[2, 2] = values[3, 3] = values[4, 2] = True
    rois, specks = mask_rois(values, "x", 0)
    assert rois == (Roi((2 / 8, 2 / 8, 5 / 8, 4 / 8), "x"),)
    assert specks == 0
    assert mask_rois(values, "x", 4 / 64) == ((), 1)
    assert mask_rois(np.zeros((8, 8), bool), "x", 0) == ((), 0)


def test_empty_masks_and_masks_of_specks_keep_the_photo(folders):
    images, masks = folders
    for name, content in [("empty", mask()), ("speck", mask((1, 1, 2, 2)))]:
        photo().save(images / f"{name}.png")
        content.save(masks / f"{name}.png")
    annotations, rejects, counts = import_mask_folder(
        images, masks, "wound", min_region_area=0.001
    )
    assert [annotation.rois for annotation in annotations] == [(), ()]
    assert rejects == []
    assert counts["photos without ROI"] == 2
    assert counts["specks ignored"] == 1


def test_bad_photos_and_masks_are_rejected_one_by_one(folders, tmp_path):
    images, masks = folders
    one = mask((10, 10, 30, 30))

    def pair(name, image=None, its_mask=one):
        (image or photo()).save(images / name)
        if its_mask:
            its_mask.save(masks / f"{pathlib.Path(name).stem}.png")

    pair("good.jpg")
    pair("no_mask.jpg", its_mask=None)
    pair("other_size.jpg", its_mask=mask(height=30))
    shades = Image.linear_gradient("L").point(lambda value: value // 3)
    pair("grey_mask.jpg", its_mask=shades.resize((80, 60)))
    pair("two_masks.jpg")
    one.save(masks / "two_masks.bmp")
    pair("twin.jpg")
    photo().save(images / "twin.png")
    pair("html.jpg")
    (images / "html.jpg").write_text("<!DOCTYPE html><html></html>")
    pair("empty.jpg")
    (images / "empty.jpg").write_bytes(b"")
    pair("cut.jpg", image=photo(600, 800), its_mask=mask(height=600, width=800))
    (images / "cut.jpg").write_bytes((images / "cut.jpg").read_bytes()[:3000])
    pair("tiny.png", image=photo(1, 1), its_mask=mask(height=1, width=1))
    pair("broken_mask.jpg")
    (masks / "broken_mask.png").write_bytes(b"x")
    pair("painted.png")
    content = encode_png(np.asarray(photo()), {"synthetic": "true"})
    (images / "painted.png").write_bytes(content)
    frames = [photo(), photo(colour=(9, 9, 9))]
    frames[0].save(images / "film.gif", save_all=True, append_images=frames[1:])
    one.save(masks / "film.png")
    os.mkfifo(images / "pipe.jpg")
    one.save(masks / "pipe.png")

    annotations, rejects, _ = import_mask_folder(images, masks, "wound")
    assert [annotation.image for annotation in annotations] == ["good.jpg", "twin.jpg"]
    found = reasons(rejects)
    expected = {
        "no_mask.jpg": "has no mask no_mask.*",
        "other_size.jpg": "mask other_size.png is 80 × 30 pixels, the photo 80 × 60",
        "grey_mask.jpg": "mask grey_mask.png has no white: its brightest pixel is 8",
        "two_masks.jpg": "has no mask of its own: 2 photos are called",
        "twin.png": "has the same name as twin.jpg",
        "html.jpg": "is HTML, not an image",
        "empty.jpg": "is empty",
        "cut.jpg": "ends too early",
        "tiny.png": "is 1 × 1 pixels",
        "broken_mask.jpg": "mask broken_mask.png is not an image",
        "painted.png": "is a synthetic image",
        "film.gif": "has several frames",
        "pipe.jpg": "is a pipe or device",
    }
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert found[name].startswith(reason), found[name]
        assert str(tmp_path) not in found[name]


def test_names_that_cannot_be_written_as_text_are_rejected(folders):
    images, masks = folders
    name = os.fsencode(images) + b"/a\xff.jpg"
    try:
        with open(name, "wb") as file:
            photo().save(file, "JPEG")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    with open(os.fsencode(masks) + b"/a\xff.png", "wb") as file:
        mask().save(file, "PNG")
    annotations, rejects, _ = import_mask_folder(images, masks, "wound")
    assert annotations == []
    assert "cannot be shown" in rejects[0].reason


def test_mask_drawn_on_the_turned_photo(folders):
    images, masks = folders
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 80 wide and 60 high, shown 60 wide and 80 high
    photo().save(images / "a.jpg", exif=exif)
    photo().save(images / "b.jpg", exif=exif)
    mask((0, 0, 40, 30), height=80, width=60).save(masks / "a.png")
    mask((0, 0, 30, 40)).save(masks / "b.png")
    annotations, rejects, _ = import_mask_folder(images, masks, "wound")
    (annotation,) = annotations
    assert annotation.image == "a.jpg"
    assert annotation.rois[0].box == (0, 0, 0.5, 0.5)
    assert "turn the mask like the photo" in reasons(rejects)["b.jpg"]


def test_masks_of_zeros_and_ones_colours_and_other_formats(folders):
    images, masks = folders
    for name in "abc":
        photo().save(images / f"{name}.jpg")
    mask((0, 0, 30, 40), white=1).save(masks / "a.png")
    mask((0, 0, 30, 40)).convert("1").save(masks / "b.tif")
    red = Image.merge("RGB", [mask((0, 0, 30, 40)), mask(), mask()])
    red.quantize(2).save(masks / "c.gif")
    annotations, rejects, _ = import_mask_folder(images, masks, "wound")
    assert rejects == []
    for annotation in annotations:
        assert [roi.box for roi in annotation.rois] == [(0, 0, 0.5, 0.5)]


def test_mask_suffix_case_pattern_and_one_folder_for_both(tmp_path):
    for name in ("c1_front", "c1_back", "c2_front", "odd"):
        photo().save(tmp_path / f"{name}.JPG", "JPEG")
        mask((0, 0, 30, 40)).save(tmp_path / f"{name}_mask.png")
    mask().save(tmp_path / "c9_front_mask.png")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.jpg").mkdir()
    annotations, rejects, counts = import_mask_folder(
        tmp_path, tmp_path, "wound", mask_suffix="_mask", case_pattern=r"^(c\d+)_"
    )
    assert {a.image: a.case_id for a in annotations} == {
        "c1_back.JPG": "c1",
        "c1_front.JPG": "c1",
        "c2_front.JPG": "c2",
    }
    assert "no case in its name" in reasons(rejects)["odd.JPG"]
    assert counts["masks without photo"] == 1
    whole, _, _ = import_mask_folder(
        tmp_path, tmp_path, "wound", mask_suffix="_mask", case_pattern="^[^_]+"
    )
    assert {a.case_id for a in whole} == {"c1", "c2", "odd"}
    with pytest.raises(InputError, match="no regular expression"):
        import_mask_folder(tmp_path, tmp_path, "x", mask_suffix="_m", case_pattern="(")
    with pytest.raises(InputError, match="in one folder"):
        import_mask_folder(tmp_path, tmp_path, "wound")


def test_folders_that_are_missing_or_hold_no_photos(folders, tmp_path):
    images, masks = folders
    with pytest.raises(InputError, match="no photos in"):
        import_mask_folder(images, masks, "wound")
    photo().save(images / "a.jpg")
    with pytest.raises(InputError, match="nowhere: No such file"):
        import_mask_folder(images, tmp_path / "nowhere", "wound")
    with pytest.raises(InputError, match="Not a directory"):
        import_mask_folder(images / "a.jpg", masks, "wound")


def test_no_two_photos_share_a_mask(folders):
    images, masks = folders
    box = mask((0, 0, 30, 40))

    def there(photos, of_masks):
        files = [(images / name, photo()) for name in photos]
        for path, picture in files + [(masks / name, box) for name in of_masks]:
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        found, rejects, counts = import_mask_folder(images, masks, "wound")
        return [a.image for a in found], reasons(rejects), counts

    visits = ["visit1/1.png", "visit2/1.png"]
    found, rejects, _ = there(visits, ["1.png"])
    assert found == []
    assert set(rejects) == set(visits)
    assert "has the same mask as another, 1.png" in rejects["visit1/1.png"]
    found, rejects, _ = there([], ["visit2/1.png"])
    assert found == ["visit2/1.png"]
    found, rejects, _ = there([], ["visit1/1.png"])
    assert (found, rejects) == (visits, {})
    # A photo in a folder and its mask in none: the name is the only one of its kind.
    (masks / "visit1/1.png").unlink()
    (masks / "visit2/1.png").unlink()
    found, rejects, counts = there(["p/only.png"], ["ONLY.png"])
    assert found == ["p/only.png"] and set(rejects) == set(visits)
    assert counts["names with other capitals"] == 1


def test_masks_numbers_and_turns_can_be_told(folders):
    images, masks = folders
    exif = Image.Exif()
    exif[0x0112] = 3
    photo().save(images / "a.jpg", exif=exif)
    values = np.zeros((60, 80), np.uint8)
    values[:30, :40], values[30:, 40:] = 1, 2
    Image.fromarray(values).save(masks / "a.png")

    def boxes(**options):
        (found,), _, counts = import_mask_folder(images, masks, "x", **options)
        assert counts["photos turned by EXIF"] == 1
        return sorted(roi.box for roi in found.rois)

    first, last = (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)
    assert boxes(lesion_values=(1,)) == [first]
    assert boxes(lesion_values=(1,), boxes_in="stored") == [last]
    Image.fromarray(np.where(values == 1, 1, 0).astype(np.uint8)).save(masks / "a.png")
    assert boxes() == [first]
    assert boxes(boxes_in="stored") == [last]


# --- PAD-UFES-20

HEADER = ["patient_id", "lesion_id", "fitspatrick", "diagnostic", "img_id"]


def pad_folder(folder, rows, header=HEADER, encoding="utf-8", delimiter=","):
    (folder / "images").mkdir(exist_ok=True)
    with open(folder / "metadata.csv", "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return folder


def test_pad_rows_become_annotations(tmp_path):
    codes = ["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"]
    rows = [
        [f"PAT_{i // 2}", i, "" if i == 0 else f"{i}.0", code, f"{code}.png"]
        for i, code in enumerate(codes)
    ]
    rows.append(["PAT_9", 9, "2.0", "BCC", "absent.png"])
    folder = pad_folder(tmp_path, rows, encoding="utf-8-sig")
    part = folder / "images/imgs_part_1"
    part.mkdir()
    for code in codes:
        photo().save((part if code == "SEK" else folder / "images") / f"{code}.png")
    (folder / "masks").mkdir()
    mask((0, 0, 30, 40), (40, 70, 41, 71)).save(folder / "masks/mel_MASK.PNG")
    mask().save(folder / "masks/NEV_mask.png")
    annotations, rejects, counts = import_pad_ufes_20(folder, min_region_area=0.001)
    assert rejects == []
    assert [(a.case_id, a.condition, a.fitzpatrick) for a in annotations] == [
        ("PAT_0", "actinic keratosis", 0),
        ("PAT_0", "basal cell carcinoma", 1),
        ("PAT_1", "melanoma", 2),
        ("PAT_1", "melanocytic nevus", 3),
        ("PAT_2", "SCC/SCCIS", 4),
        ("PAT_2", "SK/ISK", 5),
    ]
    assert annotations[0].image == "images/ACK.png"
    assert annotations[5].image == "images/imgs_part_1/SEK.png"
    assert annotations[2].rois == (Roi((0, 0, 0.5, 0.5), "melanoma"),)
    expected = {
        "rows of the table": 7,
        "images absent": 1,
        "specks ignored": 1,
        "photos without mask": 4,
        "photos without ROI": 5,
        "cases by patient": 3,
    }
    assert expected.items() <= counts.items()


def test_pad_without_masks(tmp_path):
    folder = pad_folder(tmp_path, [["P", 1, "3.0", "MEL", "a.png"]])
    photo().save(folder / "images/a.png")
    annotations, rejects, _ = import_pad_ufes_20(folder)
    assert rejects == []
    assert annotations == [
        PhotoAnnotation("images/a.png", "P", "melanoma", 3, skin_type_source="given")
    ]


def test_pad_bad_rows_and_files_are_rejected(tmp_path):
    rows = [
        ["P", 1, "3.0", "MEL", "good.png"],
        ["P", 2, "3.0", "XYZ", "code.png"],
        ["P", 3, "7.0", "MEL", "type.png"],
        ["P", 4, "dark", "MEL", "word.png"],
        ["", 5, "", "MEL", "nobody.png"],
        ["P", 6, "", "MEL", "empty.png"],
        ["P", 7, "", "MEL", "mask.png"],
        ["P", 8, "", "MEL", "good.png"],
        ["P", 9, "", "BCC", "stray.png"],
        ["P", 9, "", "NEV", "stray.png"],
        ["P"],
    ]
    folder = pad_folder(tmp_path, rows)
    for name in ("good", "code", "type", "word", "nobody", "mask", "stray"):
        photo().save(folder / f"images/{name}.png")
    (folder / "images/empty.png").write_bytes(b"")
    (folder / "masks").mkdir()
    mask(height=10, width=10).save(folder / "masks/mask_mask.png")
    annotations, rejects, counts = import_pad_ufes_20(folder)
    assert [(a.image, a.case_id) for a in annotations] == [
        ("images/good.png", "P"),
        ("images/nobody.png", "5"),  # of the lesion
    ]
    assert counts["photos told of again"] == 1  # good: told the same
    found = reasons(rejects)
    expected = {
        "metadata.csv:3": "images/code.png: unknown diagnostic 'XYZ'; known: ACK",
        "metadata.csv:4": "images/type.png: unknown fitspatrick '7.0'",
        "metadata.csv:5": "images/word.png: unknown fitspatrick 'dark'",
        "images/empty.png": "is empty",
        "images/mask.png": "mask mask_mask.png is 10 × 10 pixels",
        "metadata.csv:11": "images/stray.png stands already in metadata.csv:10, as",
        "metadata.csv:12": "has 1 cells, the header 5",
    }
    assert found.keys() == expected.keys()
    for item, reason in expected.items():
        assert found[item].startswith(reason), found[item]


def test_pad_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*metadata\.csv"):
        import_pad_ufes_20(tmp_path)
    pad_folder(tmp_path, [], header=["patient_id", "img_id"])
    with pytest.raises(InputError, match="no column diagnostic, fitspatrick; it has"):
        import_pad_ufes_20(tmp_path)
    pad_folder(tmp_path, [["P", 1, "", "MEL", "a.png"]])
    with pytest.raises(InputError, match="no photos in"):
        import_pad_ufes_20(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"")
    with pytest.raises(InputError, match="it has none"):
        import_pad_ufes_20(tmp_path)


# --- what importers share


@pytest.mark.parametrize("copy", [False, True])
def test_photos_are_placed_beside_the_annotations(tmp_path, copy):
    source, output = tmp_path / "source", tmp_path / "output"
    (source / "part").mkdir(parents=True)
    output.mkdir()
    photo().save(source / "part/a.png")
    annotation = PhotoAnnotation("part/a.png", "c", "x")
    (placed,) = place_photos([annotation], source, output, copy=copy)
    assert placed.image == "photos/part/a.png"
    assert (output / placed.image).is_symlink() == (not copy)
    assert (output / placed.image).read_bytes() == (source / "part/a.png").read_bytes()


def test_links_hold_when_given_relative_folders(tmp_path, monkeypatch):
    photo().save(tmp_path / "a.png")
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    place_photos([PhotoAnnotation("a.png", "c", "x")], ".", "deep/er")
    assert pathlib.Path("deep/er/photos/a.png").read_bytes()


def test_missing_skin_types_are_estimated_and_known_ones_judged(tmp_path):
    colours = {"light": (244, 208, 188), "dark": (72, 45, 34), "blue": (50, 100, 220)}
    for name, colour in colours.items():
        photo(colour=colour).save(tmp_path / f"{name}.png")
    annotations = [
        PhotoAnnotation("light.png", "a", "x", 0),
        PhotoAnnotation("dark.png", "b", "x", 4),
        PhotoAnnotation("blue.png", "c", "x", 0),
    ]
    filled, errors = estimate_skin_types(annotations, tmp_path)
    assert [annotation.fitzpatrick for annotation in filled] == [1, 4, 0]
    assert [a.skin_type_source for a in filled] == ["estimated", None, None]
    assert errors["usual"]["n"] == 1
    assert errors["usual"]["mean_error"] == 2
    assert errors["commonest"]["type"] == 4
    assert errors["fitted"] is None


def test_threads_keep_order_and_pass_errors_on():
    assert in_threads(lambda x: x * x, range(50), silent, "") == [
        x * x for x in range(50)
    ]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda x: 1 // x, [1, 0, 2], silent, "")


def test_a_decoder_that_crashes_costs_one_photo(folders, tmp_path, monkeypatch):
    images, masks = folders
    for name in ("a", "crash-segfault", "z"):
        photo(colour=(150, 100, 80)).save(images / f"{name}.jpg")
        mask((5, 10, 25, 30)).save(masks / f"{name}.png")
    photo().save(images / "without.jpg")
    crash = "the decoder crashed (signal 11, SIGSEGV)"
    classes = tmp_path / "classes"
    (classes / "wound").mkdir(parents=True)
    for path in images.iterdir():
        (classes / "wound" / path.name).symlink_to(path)
    whole, _, _ = import_mask_folder(images, masks, "wound")
    monkeypatch.setenv("PYTHONPATH", crashing_decoder(tmp_path / "hook"))
    annotations, rejects, _ = import_mask_folder(
        images, masks, "wound", crash_safe=True
    )
    assert annotations == [whole[0], whole[2]]
    assert reasons(rejects) == {
        "crash-segfault.jpg": crash,
        "without.jpg": "has no mask without.*",
    }
    annotations, rejects, _ = import_class_folders(classes, crash_safe=True)
    assert [a.image for a in annotations] == [
        f"wound/{name}.jpg" for name in ("a", "without", "z")
    ]
    assert reasons(rejects) == {"wound/crash-segfault.jpg": crash}
    # Without the crash processes find what threads find.
    safe, unsafe = (
        estimate_skin_types(whole, images, crash_safe=safe) for safe in (True, False)
    )
    estimates = [a.fitzpatrick for a in unsafe[0]]
    assert all(estimates)
    assert [a.fitzpatrick for a in safe[0]] == [estimates[0], 0, estimates[2]]


def test_reading_photos_needs_no_tensorflow():
    program = (
        "import sys, dermgan_tf.photos.importers.published;"
        "import dermgan_tf.photos.skin_tone;"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'matplotlib')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@needs(PHOTOS / "pad_ufes_20")
def test_real_pad_folder():
    annotations, rejects, counts = import_pad_ufes_20(PHOTOS / "pad_ufes_20")
    assert rejects == []
    assert len(annotations) == 36
    assert counts["rows of the table"] == 2298
    assert counts["images absent"] == 2298 - 36
    assert counts["photos without mask"] == 1
    assert sum(annotation.fitzpatrick == 0 for annotation in annotations) == 28
    by_image = {annotation.image: annotation for annotation in annotations}
    melanoma = by_image["images/PAT_894_1679_640.png"]
    assert (melanoma.condition, melanoma.fitzpatrick) == ("melanoma", 2)
    assert melanoma.case_id == "PAT_894"
    assert len(melanoma.rois) == 1
