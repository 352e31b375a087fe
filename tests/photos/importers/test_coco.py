import json

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.importers.coco import import_coco
from dermgan_tf.photos.importers.names import settled_splits
from dermgan_tf.photos.semantic_map import Roi

SKIN = (209, 158, 122)


def photo(path, width=64, height=32, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), SKIN).save(path, **options)


def image(number, name, width=64, height=32):
    return {"id": number, "file_name": name, "width": width, "height": height}


def box(number, image_id, bbox=(16, 8, 32, 16), category=1, **more):
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": list(bbox),
        "iscrowd": 0,
        **more,
    }


def write(path, images, annotations, categories=({"id": 1, "name": "melanoma"},)):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": list(images),
        "annotations": list(annotations),
        "categories": list(categories),
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def reasons(rejects):
    return {reject.item: reject.reason for reject in rejects}


def test_boxes_outlines_and_crowds(tmp_path):
    for name in "abcd":
        photo(tmp_path / f"images/{name}.jpg")
    runs = {"counts": [32 * 16 + 8, 16, 32 * 48 - 24], "size": [32, 64]}
    write(
        tmp_path / "annotations.json",
        [image(i, f"{name}.jpg") for i, name in enumerate("abcd")],
        [
            box(1, 0),
            box(2, 0, (0, 0, 8, 8), category=7),
            box(3, 0),  # told twice
            box(4, 1, (), segmentation=[[16, 8, 48, 8, 48, 24]]),
            box(5, 2, (), segmentation=runs, iscrowd=1),
        ],
        [{"id": 1, "name": " melanoma "}, {"id": 7, "name": 'Größe: 3, "odd" ☂'}],
    )
    annotations, rejects, counts = import_coco(tmp_path)
    assert rejects == []
    whole = (0.25, 0.25, 0.75, 0.75)
    assert [(a.image, a.condition) for a in annotations] == [
        ("images/a.jpg", "melanoma"),
        ("images/b.jpg", "melanoma"),
        ("images/c.jpg", "melanoma"),
    ]
    assert annotations[0].rois == (
        Roi(whole, "melanoma"),
        Roi((0, 0, 0.25, 0.125), 'Größe: 3, "odd" ☂'),
    )
    assert annotations[1].rois == (Roi(whole, "melanoma"),)
    assert annotations[2].rois == (Roi((0.25, 0.25, 0.75, 17 / 64), "melanoma"),)
    assert annotations[0].case_id == "images/a"
    assert counts["repeated boxes"] == 1
    assert counts["crowds taken as one box"] == 1
    assert counts["left out: no boxes"] == 1  # d
    clear, _, _ = import_coco(tmp_path, label_without_boxes="clear skin")
    assert (clear[3].image, clear[3].condition) == ("images/d.jpg", "clear skin")
    assert clear[3].rois == ()


def test_every_kind_of_bad_item_is_rejected_and_the_rest_kept(tmp_path):
    for name in ("good", "wide", "turned", "big", "unsaid", "lost", "partly", "twin"):
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "html.jpg").write_text("<html>gone</html>")
    photo(tmp_path.parent / "outside.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "turned.jpg", exif=exif)  # seen, it is 32 wide and 64 high
    photo(tmp_path / "big.jpg", 128, 64)
    write(
        tmp_path / "result.json",
        [
            image(1, "good.jpg"),
            image(2, "wide.jpg", 64, 64),
            image(3, "turned.jpg"),
            image(4, "big.jpg"),
            image(5, "unsaid.jpg", None, None),
            image(6, "lost.jpg"),
            image(7, "partly.jpg"),
            image(8, "absent.jpg"),
            image(9, "../outside.jpg"),
            image(10, "/etc/passwd"),
            image(11, r"C:\photos\good.jpg"),
            image(12, "html.jpg"),
            image(13, "good.jpg"),
            image(14, "a\nb.jpg"),
            image(15, None),
            image(16, "twin.jpg"),
            image(16, "other.jpg"),
            image([1], "good.jpg"),
            image(18, "good.jpg", -3, 9),
            "no object",
        ],
        [
            *(box(i, i) for i in (1, 2, 3, 4, 5, 8, 9, 10, 12)),
            box(20, 6, (200, 200, 10, 10)),
            box(21, 7),
            box(22, 7, (-20, 8, 30, 8)),  # mostly outside
            box(23, 7, (-8, 0, 32, 32)),  # over the edge
            box(24, 7, (4, 4, 0, 4)),
            box(25, 7, category=99),
            box(26, 7, category=[1]),
            box(27, 7, category=2),
            box(28, 7, category=3),
            box(29, 99),
            box(30, {"id": 1}),
            17,
        ],
        [
            {"id": 1, "name": "melanoma"},
            {"id": 2, "name": ""},
            {"id": 3, "name": "a"},
            {"id": 3, "name": "b"},
        ],
    )
    annotations, rejects, counts = import_coco(tmp_path)
    assert {a.image: len(a.rois) for a in annotations} == {
        "good.jpg": 1,
        "big.jpg": 1,
        "unsaid.jpg": 1,
        "partly.jpg": 2,
    }
    assert counts["boxes cut to the photo"] == 1
    assert counts["photos told of again"] == 1  # good
    assert counts["photos of another size"] == 1  # big: the same picture, enlarged
    assert counts["images absent"] == 1
    found = reasons(rejects)
    expected = {
        "wide.jpg": "was annotated at 64 × 64 pixels but has 64 × 32",
        "turned.jpg": "was annotated at 64 × 32 pixels but has 32 × 64 once upright",
        "lost.jpg": "has no good box: box (top, left, bottom, right) = (200, 200",
        "html.jpg": "is HTML",
        "result.json: image 9": "file name '../outside.jpg' leads out of",
        "result.json: image 10": "file name '/etc/passwd' leads out of",
        "result.json: image 11": "file name 'C:/photos/good.jpg' leads out of",
        "result.json: image 14": "file name 'a\\nb.jpg' has characters",
        "result.json: image 15": "'None' is not a file name",
        "result.json: image 16": "id is that of 2 images",
        "result.json: image 17": "has no id",
        "result.json: image 18": "height and width",
        "result.json: image 19": "is not an object",
        "result.json: annotation 22": "partly.jpg: box (top, left, bottom, right)",
        "result.json: annotation 24": "partly.jpg: bbox [4, 4, 0, 4] has no area",
        "result.json: annotation 25": "partly.jpg: unknown category_id 99",
        "result.json: annotation 26": "partly.jpg: unknown category_id [1]",
        "result.json: annotation 27": "partly.jpg: category 2 has no name",
        "result.json: annotation 28": "partly.jpg: category 3 has several names",
        "result.json: annotation 29": "is of no image: image_id 99",
        "result.json: annotation 30": "is of no image",
        "result.json: annotation 20": "is not an object",  # the 21st of the list
    }
    assert found.keys() == expected.keys()
    for item, reason in expected.items():
        assert found[item].startswith(reason), found[item]
        assert str(tmp_path) not in found[item]


@pytest.mark.parametrize(
    "name",
    [
        "images/cb0618f6-a.jpg",  # Label Studio to 1.15, with images
        r"images\cb0618f6-a.jpg",  # the same on Windows
        "images/1/cb0618f6-a.jpg",  # of 2022
        r"..\..\label-studio\label-studio\media\upload\4\cb0618f6-a.jpg",  # 1.16
        "/data/upload/4/cb0618f6-a.jpg",
        "/data/local-files/?d=some/where/cb0618f6-a.jpg",
    ],
)
@pytest.mark.parametrize("on_disk", ["images/cb0618f6-a.jpg", "mine/a.jpg"])
def test_names_of_label_studio(tmp_path, name, on_disk):
    photo(tmp_path / on_disk)
    photo(tmp_path / "images/b.jpg")
    write(tmp_path / "result.json", [image(0, name)], [box(0, 0)])
    annotations, rejects, counts = import_coco(tmp_path)
    assert rejects == []
    assert annotations[0].image == on_disk
    assert counts["photos without entry"] == 1


def test_names_of_other_computers_only_when_asked(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "x/b.jpg")
    photo(tmp_path / "y/b.jpg", 32, 32)
    names = ["/home/me/data/a.jpg", "gone/b.jpg"]
    write(
        tmp_path / "result.json",
        [image(i, name) for i, name in enumerate(names)],
        [box(0, 0), box(1, 1)],
    )
    annotations, rejects, counts = import_coco(tmp_path)
    assert annotations == []
    assert "match_names" in rejects[0].reason
    assert counts["images absent"] == 1
    annotations, rejects, _ = import_coco(tmp_path, match_names=True)
    assert [a.image for a in annotations] == ["a.jpg"]
    assert "2 photos are called 'gone/b.jpg': x/b.jpg, y/b.jpg" in rejects[0].reason


def test_layouts_and_splits(tmp_path):
    def layout(name, files):
        for json_name, photo_name, file_name in files:
            photo(tmp_path / name / photo_name)
            write(tmp_path / name / json_name, [image(5, file_name)], [box(1, 5)])
        annotations, rejects, _ = import_coco(tmp_path / name)
        assert rejects == []
        return {a.image: a.split for a in settled_splits(annotations)}

    assert layout(
        "coco",
        [
            ("annotations/instances_train2017.json", "train2017/1.jpg", "1.jpg"),
            ("annotations/instances_val2017.json", "val2017/1.jpg", "1.jpg"),
            ("annotations/captions_val2017.json", "val2017/1.jpg", "1.jpg"),
        ],
    ) == {"train2017/1.jpg": "train", "val2017/1.jpg": "validation"}
    assert layout(
        "cvat",
        [
            ("annotations/instances_Train.json", "images/Train/s/1.jpg", "s/1.jpg"),
            ("annotations/instances_Test.json", "images/Test/1.jpg", "1.jpg"),
        ],
    ) == {"images/Train/s/1.jpg": "train", "images/Test/1.jpg": "test"}
    assert layout(
        "roboflow",
        [
            ("train/_annotations.coco.json", "train/1.jpg", "1.jpg"),
            ("valid/_annotations.coco.json", "valid/1.jpg", "1.jpg"),
        ],
    ) == {"train/1.jpg": "train", "valid/1.jpg": "validation"}
    # An export that knows one split alone says nothing.
    assert layout(
        "one", [("annotations/instances_train.json", "images/1.jpg", "1.jpg")]
    ) == {"images/1.jpg": None}
    alone, _, _ = import_coco(
        tmp_path / "coco",
        annotations_file=str(tmp_path / "coco/annotations/instances_val2017.json"),
    )
    assert [a.image for a in alone] == ["val2017/1.jpg"]
    apart, _, _ = import_coco(
        tmp_path / "coco/annotations",
        images_dir=tmp_path / "coco/val2017",
        annotations_file=str(tmp_path / "coco/annotations/instances_val2017.json"),
    )
    assert {a.image for a in apart} == {"1.jpg"}
    # Of which of the two the only 1.jpg is nobody can tell.
    _, rejects, _ = import_coco(
        tmp_path / "coco/annotations", images_dir=tmp_path / "coco/val2017"
    )
    assert "1.jpg stands already in" in rejects[0].reason


def test_a_case_in_two_splits_is_an_error(tmp_path):
    for split in ("train", "test"):
        photo(tmp_path / split / f"p7_{split}.jpg")
        write(
            tmp_path / split / "_annotations.coco.json",
            [image(1, f"p7_{split}.jpg")],
            [box(1, 1)],
        )
    annotations, _, _ = import_coco(tmp_path, case_pattern="^p\\d+")
    assert {a.case_id for a in annotations} == {"p7"}
    with pytest.raises(InputError, match=r"'p7' is in two splits.*keep_splits"):
        settled_splits(annotations)
    assert {a.split for a in settled_splits(annotations, keep=False)} == {None}


def test_files_that_are_not_coco(tmp_path):
    photo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no COCO JSON in"):
        import_coco(tmp_path)
    (tmp_path / "result.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="no COCO JSON in"):
        import_coco(tmp_path)
    for content in (b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000):
        (tmp_path / "result.json").write_bytes(content)
        with pytest.raises(InputError, match=r"result\.json is not JSON"):
            import_coco(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        import_coco(tmp_path, annotations_file=str(tmp_path / "none.json"))
    write(tmp_path / "result.json", [image(1, "other.jpg")], [box(1, 1)])
    with pytest.raises(InputError, match="tells of none of the 1 photos"):
        import_coco(tmp_path)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match="no photos in"):
        import_coco(tmp_path)
    with pytest.raises(InputError, match="cannot read folder"):
        import_coco(tmp_path / "nowhere")


def test_a_byte_order_mark_and_links_in_circles_do_no_harm(tmp_path):
    photo(tmp_path / "images/a.jpg")
    (tmp_path / "images/again").symlink_to(tmp_path)
    write(tmp_path / "result.json", [image(1, "a.jpg")], [box(1, 1)])
    content = (tmp_path / "result.json").read_bytes()
    (tmp_path / "result.json").write_bytes(b"\xef\xbb\xbf" + content)
    annotations, rejects, _ = import_coco(tmp_path)
    assert [a.image for a in annotations] == ["images/a.jpg"]
    assert rejects == []


def test_boxes_that_say_that_they_are_turned_hidden_or_a_group(tmp_path):
    for name in "abcdef":
        photo(tmp_path / f"{name}.jpg", 200, 100)
    told = [
        {"attributes": {"rotation": 90.0, "occluded": True}},
        {"attributes": {"rotation": -45}},
        {"attributes": {"rotation": 180.0}},
        {"attributes": {"rotation": "steep"}},
        {"attributes": {"outside": True}},
        {"ignore": 1},
    ]
    write(
        tmp_path / "result.json",
        [image(i, f"{name}.jpg", 200, 100) for i, name in enumerate("abcdef")],
        [box(i, i, (80, 40, 40, 20), **more) for i, more in enumerate(told)],
    )
    annotations, rejects, counts = import_coco(tmp_path)
    boxes = {a.image: a.rois[0].box for a in annotations}
    assert boxes["a.jpg"] == pytest.approx((0.3, 0.45, 0.7, 0.55))
    side = 60 / 2**0.5 / 2  # half of the box around one turned by 45 degrees
    assert boxes["b.jpg"] == pytest.approx(
        ((50 - side) / 100, (100 - side) / 200, (50 + side) / 100, (100 + side) / 200)
    )
    assert boxes["c.jpg"] == (0.4, 0.4, 0.6, 0.6)
    assert counts["boxes around turned boxes"] == 2
    assert counts["boxes said to be occluded"] == 1
    found = reasons(rejects)
    assert "rotation 'steep' is not a number" in found["d.jpg"]
    assert "not to be taken: outside" in found["e.jpg"]
    assert "not to be taken: ignore" in found["f.jpg"]


def test_masks_are_scaled_by_their_own_size_and_good_outlines_kept(tmp_path):
    for name in "abcd":
        photo(tmp_path / f"{name}.jpg", 64, 32)
    runs = {"counts": [16 * 8 + 4, 8, 512 - 140], "size": [16, 32]}  # half the size
    lying = {"counts": [16 * 8 + 4, 8, 512 - 140], "size": [32, 16]}
    good = [16, 8, 48, 8, 48, 24]
    write(
        tmp_path / "result.json",
        [image(i, f"{name}.jpg") for i, name in enumerate("abcd")],
        [
            box(0, 0, (), segmentation=runs),
            box(1, 1, (), segmentation=lying),
            box(2, 2, (), segmentation=[[5, 5], good, [1, 2, 3]]),
            box(3, 3, (0.25, 0.25, 0.5, 0.5)),  # in shares
        ],
    )
    annotations, rejects, counts = import_coco(tmp_path)
    assert {a.image: a.rois[0].box for a in annotations} == {
        "a.jpg": (4 / 16, 8 / 32, 12 / 16, 9 / 32),
        "c.jpg": (0.25, 0.25, 0.75, 0.75),
    }
    assert counts["outlines left out of several"] == 2
    found = reasons(rejects)
    assert "was annotated at 16 × 32 pixels but has 64 × 32" in found["b.jpg"]
    assert "less than a pixel: is it in shares" in found["d.jpg"]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_boxes_of_photos_that_exif_turns(tmp_path, orientation):
    seen = Image.new("RGB", (64, 32), SKIN)
    seen.paste((90, 20, 20), (8, 4, 24, 12))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's, that undo them
    stored = seen.transpose(turns[orientation]) if orientation > 1 else seen
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    spot = np.argwhere(np.asarray(stored)[..., 1] < 99)
    (top, left), (bottom, right) = spot.min(axis=0), spot.max(axis=0) + 1
    width, height = stored.size
    drawn = [int(left), int(top), int(right - left), int(bottom - top)]
    as_seen = (4 / 32, 8 / 64, 12 / 32, 24 / 64)

    def imported(size, bbox, boxes_in):
        write(tmp_path / "a.json", [image(1, "a.png", *size)], [box(1, 1, bbox)])
        found, rejects, counts = import_coco(tmp_path, boxes_in=boxes_in)
        turned = orientation > 1 and bool(found)
        assert counts.get("photos turned by EXIF", 0) == turned
        return found[0].rois[0].box if found else reasons(rejects)["a.png"]

    assert imported((width, height), drawn, "stored") == pytest.approx(as_seen)
    assert imported((64, 32), (8, 4, 16, 8), "seen") == pytest.approx(as_seen)
    shares = [8 / 64 * width, 4 / 32 * height, 16 / 64 * width, 8 / 32 * height]
    found = imported((width, height), shares, "seen_of_stored_size")
    assert found == pytest.approx(as_seen)
    if orientation >= 5:
        assert "say by boxes_in" in imported((width, height), drawn, "seen")


def test_two_annotators_of_a_photo(tmp_path):
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    near, far = (18, 8, 32, 16), (0, 0, 8, 8)
    write(
        tmp_path / "result.json",
        [image(i, f"{name}.jpg") for i, name in enumerate("abcabc")],
        [
            *(box(0, 0), box(1, 1), box(2, 2)),
            *(box(3, 3, near), box(4, 3, far), box(5, 4, near, category=2)),
        ],
        [{"id": 1, "name": "melanoma"}, {"id": 2, "name": "eczema"}],
    )
    whole = (0.25, 0.25, 0.75, 0.75)
    annotations, rejects, counts = import_coco(tmp_path)
    assert {a.image: [roi.box for roi in a.rois] for a in annotations} == {
        "a.jpg": [whole, (0, 0, 0.25, 0.125)],
        "c.jpg": [whole],  # the second found nothing
    }
    assert counts["boxes of a second entry that repeat the first's"] == 1
    assert counts["photos told of again"] == 3
    assert "one lesion is 'melanoma' and 'eczema'" in reasons(rejects)["b.jpg"]
    first, rejects, _ = import_coco(tmp_path, repeated="first")
    assert {len(a.rois) for a in first} == {1} and len(first) == 3
    assert rejects == []
    none, rejects, _ = import_coco(tmp_path, repeated="reject")
    assert none == [] and len(rejects) == 3


def test_no_photo_shows_healthy_skin_while_annotations_are_left_over(tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
    images = [image(1, "a.jpg"), image(2, "b.jpg")]

    def healthy():
        found, _, _ = import_coco(tmp_path, label_without_boxes="clear skin")
        return {a.image: a.condition for a in found}

    write(tmp_path / "result.json", images, [box(1, 1)])
    assert healthy() == {"a.jpg": "melanoma", "b.jpg": "clear skin"}
    write(tmp_path / "result.json", images, [box(1, "1")])  # an id as text is the same
    assert healthy() == {"a.jpg": "melanoma", "b.jpg": "clear skin"}
    write(tmp_path / "result.json", images, [box(1, 1, (), segmentation=[[1, 2]])])
    assert healthy() == {"b.jpg": "clear skin"}  # a is rejected
    for broken in (
        lambda: write(tmp_path / "result.json", images, [box(1, 77)]),
        lambda: (tmp_path / "more.json").write_text('{"boxes": []}'),
        lambda: write(tmp_path / "result.json", [images[0], "x"], [box(1, 1)]),
    ):
        write(tmp_path / "result.json", images, [box(1, 1)])
        broken()
        with pytest.raises(InputError, match="could be taken for 'clear skin'"):
            healthy()
        import_coco(tmp_path)  # where nothing is said of such photos, nothing is wrong


def test_ids_of_patients_in_images_join_them(tmp_path):
    images = []
    for i, patient in enumerate(["7", "7.0", None, "nan"]):
        photo(tmp_path / f"{i}.jpg")
        images.append({**image(i, f"{i}.jpg"), "patient_id": patient})
    write(tmp_path / "result.json", images, [box(i, i) for i in range(4)])
    annotations, _, counts = import_coco(tmp_path)
    assert [a.case_id for a in annotations] == ["7", "7", "2", "3"]
    assert counts["cases by patient"] == 1
    assert counts["cases by photo"] == 2


def test_names_of_files_are_splits_all_together_or_in_cocos_own_layout(tmp_path):
    def splits(*names):
        folder = tmp_path / "-".join(names).replace("/", "_")
        for number, name in enumerate(names):
            photo(folder / f"{number}.jpg")
            write(folder / name, [image(5, f"{number}.jpg")], [box(1, 5)])
        found, rejects, _ = import_coco(folder, images_dir=folder)
        assert rejects == []
        return [a.split for a in found]

    assert splits("patch test.json", "clinic.json") == [None, None]
    assert splits("clinic.json", "test.json", "train.json") == [None, None, None]
    assert splits("test.json", "train.json") == ["test", "train"]
    assert splits("a/instances_test.json", "a/instances_x.json") == ["test", None]
