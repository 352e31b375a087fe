import unicodedata

import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.importers.photo_index import PhotoIndex, wanted


def photos(folder, *names, equal=()):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = 0 if name in equal else number + 1
        Image.new("RGB", (32, 32), (colour, 9, 9)).save(path, "PNG")
    return PhotoIndex(folder)


def found(index, *names, **options):
    return [
        str(one) if isinstance(one, InputError) else one
        for one in index.find_all([wanted(name, **options) for name in names])
    ]


NFC, NFD = (unicodedata.normalize(form, "lésion.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("there", "told", "kind"),
    [
        ("a/1.png", "a/1.png", None),
        ("a/1.png", "./a//1.png", None),
        ("a/1.png", r"a\1.png", None),
        ("a/left arm.png", '"a/left arm.png"', None),
        (NFC, NFD, None),
        (NFD, NFC, "names in Unicode's other form (NFD)"),
        ("a/l (1).png", "a/l%20%281%29.png", "names that were percent-encoded"),
        ("a/l%20(1).png", "a/l (1).png", "names that were percent-encoded"),
        ("a/IMG_1.PNG", "a/img_1.png", "names with other capitals"),
        ("A/1.png", "a/1.png", "names with other capitals"),
        ("a/1.jpg", "a/1.png", "names with another ending"),
        ("a/Straße 1.JPG", "a/strasse%201.png", "names with another ending"),
        ("a/1.v2.jpg", "a/1.v2", None),  # it was told without ending
    ],
)
def test_names_that_differ_in_form_alone_meet_and_are_counted(
    tmp_path, there, told, kind
):
    index = photos(tmp_path, there, "other.png")
    assert found(index, told) == [there]
    assert index.loosely == ({kind: 1} if kind else {})
    assert index.unnamed() == ["other.png"]


@pytest.mark.parametrize(
    "told",
    ["1.png", "b/1.png", "images/1.png", "images/17/1.png", "x/a/1.png", "a/11.png"],
)
def test_no_photo_is_found_by_less_than_was_told(tmp_path, told):
    index = photos(tmp_path, "a/1.png", "images/18/1.png")
    assert found(index, told) == [None]


def test_a_guess_takes_no_photo_that_another_name_fits_better(tmp_path):
    index = photos(tmp_path, "a.jpg", "b.JPG", "c.png")
    assert found(index, "a.JPG", "a.jpg", "A.png", "B.jpg", "c.tif") == [
        *(None, "a.jpg", None),
        *("b.JPG", "c.png"),
    ]
    index = photos(tmp_path / "two", "a.jpg")
    first, second = found(index, "a.png", "a.tif")
    assert first == second == "a.jpg could be the photo of a.png or a.tif"


def test_of_several_none_is_taken_unless_they_are_the_same_file(tmp_path):
    index = photos(tmp_path, "x/1.jpg", "y/1.jpg", "z/2.jpg", "2.PNG", "2.png")
    several, other = found(index, "1.jpg", "2", anywhere=True)
    assert several == "2 photos are called '1.jpg': x/1.jpg, y/1.jpg"
    assert other.startswith("2 photos are called '2'")
    index = photos(tmp_path / "s", "x/1.jpg", "y/1.jpg", equal=("x/1.jpg", "y/1.jpg"))
    assert found(index, "1", anywhere=True) == ["x/1.jpg"]
    assert index.unnamed() == []
    assert index.left_over() == ([], {"photos that lie there twice": 1})


def test_folders_of_label_studios_local_files_are_kept(tmp_path):
    told = "/data/local-files/?d=mine/17/1.png"
    for there, result in [
        ("mine/17/1.png", True),
        ("17/1.png", True),
        ("images/17/1.png", True),
        ("18/1.png", False),
    ]:
        index = photos(tmp_path / there.replace("/", "_"), there, "18/2.png")
        assert found(index, told) == [there if result else None]
    assert found(photos(tmp_path / "flat", "1.png"), told) == ["1.png"]


def test_what_lies_about_is_told(tmp_path):
    index = photos(tmp_path, "a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", ".t/b.png")
    photos(tmp_path, "__MACOSX/._a.png", "Thumbs.db", "x/._b.png", "$RECYCLE.BIN/c.png")
    for name in ("scan.dcm", "raw.CR2", "notes.docx", "IM0001"):
        (tmp_path / name).write_bytes(b"x")
    index = PhotoIndex(tmp_path)
    assert index.images == ["a.png"]
    rejects, counts = index.left_over()
    assert {reject.item for reject in rejects} == {"scan.dcm", "raw.CR2"}
    assert counts == {
        "passed over: @eaDir": 1,
        "passed over: .t": 1,
        "passed over: __MACOSX": 1,
        "passed over: $RECYCLE.BIN": 1,
        "passed over: Thumbs.db": 1,
        "passed over: ._*": 1,
        "other files, not read: .docx": 1,
        "other files, not read: without ending": 1,
    }
