import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.importers.names import settled_splits
from dermgan_tf.photos.importers.voc import import_voc
from dermgan_tf.photos.importers.yolo import import_yolo
from dermgan_tf.photos.semantic_map import Roi

SKIN = (209, 158, 122)
WHOLE = (0.25, 0.25, 0.75, 0.75)
BOX = "<bndbox><xmin>16</xmin><ymin>8</ymin><xmax>48</xmax><ymax>24</ymax></bndbox>"


def photo(path, width=64, height=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), SKIN).save(path)


def reasons(rejects):
    return {reject.item: reject.reason for reject in rejects}


def assert_rejected(rejects, expected):
    found = reasons(rejects)
    assert found.keys() == expected.keys()
    for item, reason in expected.items():
        assert found[item].startswith(reason), found[item]


# --- Pascal VOC


def voc(path, name, *objects, size=(64, 32), head=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    path.write_text(
        f"{head}<annotation><folder>x</folder><filename>{name}</filename>"
        f"<path>/home/somebody/{name}</path><size><width>{width}</width>"
        f"<height>{height}</height><depth>3</depth></size>"
        + "".join(f"<object>{content}</object>" for content in objects)
        + "</annotation>",
        encoding="utf-8",
    )


def melanoma(box=BOX):
    part = "<part><name>arm</name><bndbox><xmin>0</xmin></bndbox></part>"
    return f"<name>melanoma</name><difficult>1</difficult>{part}{box}"


def test_voc_of_the_challenges_layout(tmp_path):
    for i in range(4):
        photo(tmp_path / f"JPEGImages/{i}.jpg")
        voc(tmp_path / f"Annotations/{i}.xml", f"{i}.jpg", melanoma())
    voc(tmp_path / "Annotations/3.xml", "3.jpg")
    sets = tmp_path / "ImageSets/Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("0\n3\n")
    (sets / "val.txt").write_text("1\n")
    (sets / "trainval.txt").write_text("0\n1\n2\n")
    (sets / "melanoma_test.txt").write_text("0 1\n1 -1\n")
    annotations, rejects, counts = import_voc(tmp_path)
    assert rejects == []
    assert [(a.image, a.split, a.condition) for a in annotations] == [
        ("JPEGImages/0.jpg", "train", "melanoma"),
        ("JPEGImages/1.jpg", "validation", "melanoma"),
        ("JPEGImages/2.jpg", None, "melanoma"),
    ]
    assert annotations[0].rois == (Roi(WHOLE, "melanoma"),)
    assert counts["left out: no boxes"] == 1
    clear, _, _ = import_voc(tmp_path, label_without_boxes="clear")
    assert clear[3].condition == "clear"


def test_voc_beside_photos_and_names_without_extension(tmp_path):
    photo(tmp_path / "train/a.png")
    voc(tmp_path / "train/a.xml", "a", melanoma(), size=(0, 0))
    photo(tmp_path / "test/b.png")
    voc(tmp_path / "test/b.xml", "b.JPEG", melanoma(BOX.replace("16<", "15.6<")))
    annotations, rejects, _ = import_voc(tmp_path)
    assert rejects == []
    assert {a.image: a.split for a in settled_splits(annotations)} == {
        "train/a.png": "train",
        "test/b.png": "test",
    }
    assert annotations[0].rois[0].box[1] == 15.6 / 64
    photo(tmp_path / "photos/a.png")
    elsewhere, _, _ = import_voc(tmp_path / "train", images_dir=tmp_path / "photos")
    assert [a.image for a in elsewhere] == ["a.png"]


def test_voc_pixels_from_one_on(tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml", "a.jpg", melanoma(BOX.replace("16<", "17<")))
    (annotation,), _, _ = import_voc(tmp_path, first_pixel=1)
    assert annotation.rois[0].box == (7 / 32, 16 / 64, 24 / 32, 48 / 64)


BOMB = """<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>"""
OUTSIDE = '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]>'


def test_every_kind_of_bad_voc_file_is_rejected(tmp_path):
    bad = {
        "bomb": {"name": "&c;", "head": BOMB},
        "outside": {"name": "&c;", "head": OUTSIDE},
        "dtd": {"name": "x", "head": '<!DOCTYPE a SYSTEM "http://localhost/a.dtd">'},
        "escape": {"name": "../../etc/x.jpg"},
        "absolute": {"name": "/etc/x.jpg"},
        "size": {"name": "size.jpg", "size": (60, 60)},
        "negative": {"name": "negative.jpg", "size": (-1, 60)},
    }
    for name, content in bad.items():
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", content.pop("name"), melanoma(), **content)
    for name, content in {
        "html": "<html></html>",
        "cut": "<annotation><object>",
        "empty": "",
        "deep": "<a>" * 200_000,
    }.items():
        photo(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.xml").write_text(content)
    for name, objects in {
        "good": [melanoma()],
        "none": [melanoma(""), melanoma(BOX.replace("48<", "16<"))],
        "partly": [
            melanoma(),
            melanoma(BOX.replace("48<", "x<")),
            melanoma(BOX.replace("48<", "4e999<")),
            melanoma(BOX.replace("48<", "900<")),
            melanoma(BOX.replace("48<", "70<")),
            f"<name> </name>{BOX}",
        ],
    }.items():
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", f"{name}.jpg", *objects)
    voc(tmp_path / "sub/good.xml", "good.jpg", melanoma())
    voc(tmp_path / "absent.xml", "absent.jpg", melanoma())
    photo(tmp_path / "broken.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"")
    voc(tmp_path / "broken.xml", "broken.jpg", melanoma())
    annotations, rejects, counts = import_voc(tmp_path)
    assert [(a.image, len(a.rois)) for a in annotations] == [
        ("good.jpg", 1),
        ("partly.jpg", 2),
    ]
    assert counts["images absent"] == 1
    assert counts["photos told of again"] == 1  # good, by a file in sub
    assert counts["boxes cut to the photo"] == 1
    assert_rejected(
        rejects,
        {
            "bomb.xml": "has a document type or entities",
            "outside.xml": "has a document type or entities",
            "dtd.xml": "has a document type or entities",
            "escape.xml": "file name '../../etc/x.jpg' leads out",
            "absolute.xml": "file name '/etc/x.jpg' leads out",
            "size.jpg": "was annotated at 60 × 60 pixels but has 64 × 32",
            "negative.xml": "size [60.0, -1.0] is not",
            "html.xml": "is not a VOC annotation but <html>",
            "cut.xml": "is not XML",
            "empty.xml": "is not XML",
            "deep.xml": "is not XML",
            "none.jpg": "has no good box: has no bndbox (none.xml: object 1)",
            "partly.xml: object 2": "partly.jpg: xmax is not a number but 'x'",
            "partly.xml: object 3": "partly.jpg: xmax is not a number but '4e999'",
            "partly.xml: object 4": "partly.jpg: box (top, left, bottom, right)",
            "partly.xml: object 6": "partly.jpg: has no name",
            "broken.jpg": "is empty",
        },
    )


def test_folders_without_voc(tmp_path):
    photo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no XML files"):
        import_voc(tmp_path)
    voc(tmp_path / "a.xml", "a.jpg", melanoma())
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match="no photos in"):
        import_voc(tmp_path)


def test_voc_lists_name_whole_paths(tmp_path):
    rows = {"train": ["p1/1", "p2/1", "only"], "test": ["p3/1", '"p4/left arm"']}
    for names in rows.values():
        for name in names:
            name = name.strip('"')
            photo(tmp_path / f"JPEGImages/{name}.jpg")
            own = name.rpartition("/")[2]
            voc(tmp_path / f"Annotations/{name}.xml", f"{own}.jpg", melanoma())
    sets = tmp_path / "ImageSets/Main"
    sets.mkdir(parents=True)
    for split, names in rows.items():
        (sets / f"{split}.txt").write_text("\n".join(names))
    annotations, rejects, counts = import_voc(tmp_path)
    assert rejects == []
    assert {a.image.removeprefix("JPEGImages/"): a.split for a in annotations} == {
        "p1/1.jpg": "train",
        "p2/1.jpg": "train",
        "only.jpg": "train",
        "p3/1.jpg": "test",
        "p4/left arm.jpg": "test",
    }
    assert counts["splits named by ImageSets/Main"] == 5
    assert counts["cases by folder"] == 4
    (tmp_path / "JPEGImages/p1/1.jpg").unlink()  # p2's and p3's are no stand-ins
    annotations, _, counts = import_voc(tmp_path)
    assert len(annotations) == 4
    assert counts["images absent"] == 1
    with pytest.raises(InputError, match="Annotations/p1/1.xml"):
        import_voc(tmp_path, label_without_boxes="clear skin")
    (sets / "val.txt").write_text("p3/1")
    with pytest.raises(InputError, match="is in two lists"):
        import_voc(tmp_path)


def test_voc_boxes_that_are_turned_outlined_or_marked(tmp_path):
    def attribute(name, value):
        return (
            f"<attributes><attribute><name>{name}</name><value>{value}</value>"
            "</attribute></attributes>"
        )

    turned = (
        "<robndbox><cx>32</cx><cy>16</cy><w>32</w><h>16</h>"
        "<angle>1.5707963</angle></robndbox>"
    )
    corners = list(enumerate(((16, 8), (48, 8), (48, 24)), start=1))
    outline = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in corners)
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for _, (x, y) in corners)
    for name, content in {
        "cvat": melanoma(BOX + attribute("rotation", "90.0")),
        "roLabelImg": f"<name>melanoma</name>{turned}",
        "outline": f"<name>melanoma</name><polygon>{outline}</polygon>",
        "labelme": f"<name>melanoma</name><polygon>{points}</polygon>",
        "hidden": melanoma(BOX + "<occluded>1</occluded>"),
        "gone": melanoma(BOX + "<deleted>1</deleted>"),
        "odd": melanoma(BOX + attribute("rotation", "steep")),
    }.items():
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", f"{name}.jpg", content)
    annotations, rejects, counts = import_voc(tmp_path)
    boxes = {a.image: a.rois[0].box for a in annotations}
    upright = (0, 24 / 64, 1, 40 / 64)
    assert boxes["cvat.jpg"] == pytest.approx(upright)
    assert boxes["roLabelImg.jpg"] == pytest.approx(upright, abs=1e-6)
    assert boxes["outline.jpg"] == boxes["labelme.jpg"] == boxes["hidden.jpg"] == WHOLE
    assert counts["boxes around turned boxes"] == 2
    assert counts["boxes said to be occluded"] == 1
    found = reasons(rejects)
    assert "not to be taken: deleted" in found["gone.jpg"]
    assert "rotation 'steep' is not a number" in found["odd.jpg"]


def test_voc_pixels_from_one_on_begin_at_one(tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml", "a.jpg", melanoma(BOX.replace("16<", "0<")))
    _, rejects, _ = import_voc(tmp_path, first_pixel=1)
    assert "begins at pixel 0, but pixels are numbered from 1" in rejects[0].reason


# --- YOLO

LINE = "0 0.5 0.5 0.5 0.5\n"
NAMES = "names: [melanoma, no]\n"


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("names_file", "names", "photo_at", "text_at", "split"),
    [
        ("data.yaml", NAMES, "images/train/a.jpg", "labels/train/a.txt", "train"),
        (
            "data.yaml",
            "path: ../x\ntrain: ../train/images\nnames:\n  0: melanoma\n  1: no\n",
            "valid/images/a.jpg",
            "valid/labels/a.txt",
            "validation",
        ),
        ("classes.txt", "melanoma\nno\n", "images/a.jpg", "labels/a.txt", None),
        (
            "obj.names",
            "melanoma\nno\n",
            "obj_train_data/a.jpg",
            "obj_train_data/a.txt",
            "train",
        ),
    ],
)
def test_yolo_layouts(tmp_path, names_file, names, photo_at, text_at, split):
    text(tmp_path / names_file, names)
    photo(tmp_path / photo_at)
    text(tmp_path / text_at, LINE + "1 0.1 0.2 0.5 0.2 0.5 0.9\n\n")
    text(tmp_path / "README.roboflow.txt", "read me")
    text(tmp_path / "train.txt", "obj_train_data/a.jpg")
    annotations, rejects, counts = import_yolo(tmp_path)
    assert rejects == []
    (annotation,) = annotations
    assert (annotation.image, annotation.split) == (photo_at, split)
    assert annotation.rois == (
        Roi(WHOLE, "melanoma"),
        Roi((0.2, 0.1, 0.9, 0.5), "no"),
    )
    assert annotation.condition == "no"  # 0.28 of the photo, melanoma 0.25
    assert counts["images absent"] == 0


def test_every_kind_of_bad_yolo_line_is_rejected(tmp_path):
    text(tmp_path / "data.yaml", NAMES)
    lines = {
        "good": LINE,
        "empty": "",
        "partly": LINE
        + "0 0.5 0.5 nan 0.5\n7 0.5 0.5 0.5 0.5\n0.5 0.5 0.5 0.5 0.5\nx y\n"
        "0 0.5 0.5\n0 0.5 0.5 0 0.5\n0 5 5 0.5 0.5\n0 0.9 0.5 0.3 0.5\n" + LINE,
        "none": "0 16 8 32 16\n",  # in pixels
        "broken": LINE,
        "absent": LINE,
    }
    for name, content in lines.items():
        text(tmp_path / f"labels/{name}.txt", content)
        if name != "absent":
            photo(tmp_path / f"images/{name}.jpg")
    (tmp_path / "images/broken.jpg").write_bytes(b"\xff\xd8\xff")
    photo(tmp_path / "images/untold.png")
    photo(tmp_path / "images/twin.png")
    photo(tmp_path / "images/twin.jpg")
    text(tmp_path / "labels/twin.txt", LINE)
    annotations, rejects, counts = import_yolo(tmp_path)
    assert [(a.image, len(a.rois)) for a in annotations] == [
        ("images/good.jpg", 1),
        ("images/partly.jpg", 2),
    ]
    assert counts["images absent"] == 1
    assert counts["left out: no boxes"] == 3  # empty, untold, and a twin
    assert counts["photos without text file"] == 2
    assert counts["copies of photos, without text file"] == 1  # twin.jpg
    with pytest.raises(InputError, match="2 annotations .* belong to no photo"):
        import_yolo(tmp_path, label_without_boxes="clear skin")
    assert counts["repeated boxes"] == 1
    assert counts["boxes cut to the photo"] == 1
    inside = "images/partly.jpg: "
    assert_rejected(
        rejects,
        {
            "labels/partly.txt:2": inside + "has a value that is not finite",
            "labels/partly.txt:3": inside + "unknown class 7; 2 are named",
            "labels/partly.txt:4": inside + "unknown class 0.5",
            "labels/partly.txt:5": inside + "is not numbers: 'x y'",
            "labels/partly.txt:6": inside + "has 2 numbers after the class",
            "labels/partly.txt:7": inside + "box of 0 × 0.5 has no area",
            "labels/partly.txt:8": inside + "box (top, left, bottom, right)",
            "images/none.jpg": "has no good box: box (top, left, bottom, right)",
            "images/broken.jpg": "begins like an image but ends too early",
            "labels/twin.txt": "2 photos are called 'labels/twin'",
        },
    )


def test_names_of_yolo_classes(tmp_path):
    photo(tmp_path / "images/a.jpg")
    text(tmp_path / "labels/a.txt", LINE)
    with pytest.raises(InputError, match="no names of classes"):
        import_yolo(tmp_path)
    for content, words in [
        ("names: {0: [x]}", "is no text"),
        ("names: {a: x}", "is no text"),
        ("names: x", "has no names"),
        ("a: [", "is not YAML"),
        ("- x", "is not a mapping"),
        ("names: []", "has no names"),
        ("a: " + "[" * 5000, "is not YAML"),
    ]:
        text(tmp_path / "data.yaml", content)
        with pytest.raises(InputError, match=words):
            import_yolo(tmp_path)
    text(tmp_path / "mine.names", "no\n")
    annotations, _, _ = import_yolo(
        tmp_path, annotations_file=str(tmp_path / "mine.names")
    )
    assert annotations[0].condition == "no"


def test_no_unread_text_makes_a_photo_healthy(tmp_path):
    text(tmp_path / "data.yaml", NAMES)
    for name in ("a", "b", "c"):
        photo(tmp_path / f"images/{name}.jpg", 64 + ord(name))
    text(tmp_path / "labels/a.txt", LINE)
    text(tmp_path / "labels/b.txt", "")
    copy = tmp_path / "images/again/a.jpg"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "images/a.jpg").read_bytes())

    def healthy():
        found, _, counts = import_yolo(tmp_path, label_without_boxes="clear skin")
        return {a.image[7:8]: a.condition for a in found}, counts

    conditions, counts = healthy()
    assert conditions == {"a": "melanoma", "b": "clear skin", "c": "clear skin"}
    assert counts["photos without text file"] == 1
    assert counts["copies of photos, without text file"] == 1
    for name in ("labels/C1.txt", "labels/c.json.bak", "labels/sub/c.txt", "x/c2.txt"):
        text(tmp_path / name, LINE)
        with pytest.raises(InputError, match="belong to no photo .*" + name[:6]):
            healthy()
        (tmp_path / name).unlink()
    for name, content in [
        ("labels/c.TXT", LINE),
        ("labels/C.txt", LINE),
        ("labels/c.json", "{}"),
        ("labels/c.txt", "melanoma 0.5 0.5 0.1 0.1"),
    ]:
        text(tmp_path / name, content)
        conditions, _ = healthy()
        assert conditions.get("c") == ("melanoma" if content == LINE else None)
        (tmp_path / name).unlink()
    text(tmp_path / "notes.txt", "these photos are of 2019")
    assert healthy()[1]["other files, not read: .txt"] == 1


def test_a_fifth_number_is_a_confidence_a_track_or_an_angle(tmp_path):
    text(tmp_path / "data.yaml", NAMES)
    for name, number in {"a": "0.9", "b": "17", "c": "-0.7", "d": "1.57"}.items():
        photo(tmp_path / f"images/{name}.jpg")
        text(tmp_path / f"labels/{name}.txt", f"{LINE.strip()} {number}\n")
    annotations, rejects, counts = import_yolo(tmp_path)
    assert [a.image for a in annotations] == ["images/a.jpg", "images/b.jpg"]
    assert counts["fifth numbers taken for a confidence or a track"] == 2
    assert all("is the box turned by it" in reject.reason for reject in rejects)
