"""What gets into an atlas: once, whole, unnamed, marked; and what does not."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers.atlas_images import ALL, built, write_photos
from tests.helpers.study_pools import CONDITIONS, noise_image, write_generated

pytest.importorskip("lancedb")

from dermgan_tf.apps.atlas.build import Settings, open_for_build
from dermgan_tf.apps.atlas.colour_texture import ColourTexture
from dermgan_tf.apps.atlas.filters import Filters
from dermgan_tf.apps.atlas.pictures import MARK, encode_picture, marked, shrunk
from dermgan_tf.apps.atlas.query import sheet_of, vector_of
from dermgan_tf.apps.atlas.sources import (
    annotations_source,
    common_vocabulary,
    generated_source,
)
from dermgan_tf.apps.atlas.store import AtlasStore, has_atlas
from dermgan_tf.apps.atlas.vectors import embedding_of
from dermgan_tf.errors import InputError, TooManyRejects, write_rejects
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.photo_io import (
    decode_photo,
    encode_jpeg,
    encode_png,
    read_png_text,
)

BAND = (255, 209, 102)


class Counting(ColourTexture):
    """Counts what it embeds."""

    embedded = 0

    def embed(self, images, batch_size=32):
        found = super().embed(images, batch_size)
        self.embedded += len(found)
        return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    photos = write_photos(folder / "photos of Mrs Plank", 20, size=96)
    drawn = write_photos(folder / "drawn", 5, 1, "phantom")
    write_generated(folder / "generated", 9)
    return photos, drawn, folder / "generated"


def opened(sources):
    photos, drawn, generated = sources
    return [
        *(annotations_source(photos), annotations_source(drawn)),
        generated_source(generated),
    ]


def content(store):
    """All that is stored, by id."""
    facts = store.browse(ALL, len(store))
    return {
        one.id: (one, store.picture(one.id), store.vector(one.id).tobytes())
        for one in facts
    }


@pytest.fixture(scope="module")
def atlas(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "atlas"
    store, outcome = built(folder, opened(sources), picture_size=64)
    return store, outcome


def test_everything_is_there_with_its_labels(atlas, sources):
    store, outcome = atlas
    assert (outcome.images, outcome.added, outcome.rejects) == (34, 34, [])
    assert store.about.state == "ready" and store.about.conditions == CONDITIONS
    found = store.browse(ALL, 100)
    assert len(found) == len(store) == 34
    by_provenance = {
        name: [one for one in found if one.provenance == name]
        for name in ("real", "phantom", "synthetic")
    }
    assert [len(one) for one in by_provenance.values()] == [20, 5, 9]
    lines = [json.loads(line) for line in sources[0].read_text().splitlines()]
    labels = sorted(
        (x["case_id"], x["condition"], x["fitzpatrick"] or 0) for x in lines
    )
    assert labels == sorted(
        (one.case, one.condition, one.fitzpatrick) for one in by_provenance["real"]
    )
    cases = {}
    for one in found:
        assert cases.setdefault(one.case, one.split) == one.split
    assert {(one.case, one.split) for one in by_provenance["synthetic"]} == {
        ("", "synthetic")
    }


def test_a_vector_is_that_of_the_picture(atlas, sources):
    """Of a photo of the atlas, the most similar image is itself."""
    store, _ = atlas
    embedding = embedding_of(store.about, None, None, "x")
    for place in range(5):
        photo = decode_photo(encode_jpeg(noise_image(96, [0, place])), "x")
        asked = vector_of(photo, embedding, store.about.picture_size)
        best = store.similar(asked, limit=1)[0]
        assert best.similarity == pytest.approx(1, abs=1e-4)
        assert store.vector(best.id) == pytest.approx(asked, abs=1e-6)
        assert best.condition == CONDITIONS[place % 3]


def test_pictures_are_small_and_nameless_and_synthetic_ones_marked(atlas):
    store, _ = atlas
    for one in store.browse(ALL, 100):
        data, media_type = store.picture(one.id)
        image = Image.open(io.BytesIO(data))
        assert image.size == (one.width, one.height) and image.size[0] <= 64
        pixels = np.asarray(image.convert("RGB"))
        if one.synthetic:
            assert media_type == "image/png" and image.format == "PNG"
            assert read_png_text(data)["synthetic"] == "true"
            band = pixels[64:]
            assert len(band) >= 13 and tuple(band[0, 0]) == BAND
            assert (band.max(axis=-1) < 120).sum() > 20  # letters
        else:
            assert media_type == "image/jpeg" and max(pixels.shape) <= 64
            assert set(image.info) <= {
                "jfif",
                "jfif_version",
                "jfif_unit",
                "jfif_density",
            }
            assert not image.getexif()


def test_no_byte_tells_a_name(atlas, sources):
    from pathlib import Path

    store, _ = atlas
    traces = (b"Mrs", b"GPS", b".jpg", b"photos of", b"generated", b"Exif")
    for path in Path(store.where).rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for trace in traces:
            assert trace not in data, (path, trace)
            assert trace.decode() not in path.relative_to(store.where).as_posix()
    # The tables are compressed: what is in them, besides.
    rows = repr(store._images.to_arrow().drop_columns(["vector"]).to_pylist())
    assert "Plank 0 1" in rows and not any(one.decode() in rows for one in traces)


def test_hashed_ids(sources, tmp_path):
    salt = b"0123456789abcdef0"
    plain, _ = built(tmp_path / "plain", opened(sources)[:1])
    store, _ = built(tmp_path / "atlas", opened(sources)[:1], salt=salt)
    cases = {one.case for one in store.browse(ALL, 100)}
    assert cases == {anonymous_case_id(f"Plank 0 {i}", salt) for i in range(10)}
    assert not set(content(plain)) & set(content(store))
    data = [p.read_bytes() for p in (tmp_path / "atlas").rglob("*") if p.is_file()]
    assert not any(b"Plank" in one or salt in one for one in data)
    _, again = built(tmp_path / "atlas", opened(sources)[:1], salt=salt)
    assert (again.added, again.known, again.images) == (0, 20, 20)
    for other in (None, b"another salt of 16"):
        with pytest.raises(InputError, match="with other ids: give the --anonymize"):
            built(tmp_path / "atlas", opened(sources)[:1], salt=other)
    with pytest.raises(InputError, match="without --anonymize_ids: leave it out"):
        built(tmp_path / "plain", opened(sources)[:1], salt=salt)


def test_adding_embeds_what_is_new_alone(sources, tmp_path):
    first, second, third = opened(sources)
    embedding = Counting()
    _, outcome = built(tmp_path / "atlas", [first], embedding)
    assert embedding.embedded == outcome.added == 20
    store, outcome = built(tmp_path / "atlas", [third, first, second], embedding)
    assert embedding.embedded == 34
    assert (outcome.added, outcome.known, outcome.doubled) == (14, 20, 0)
    whole, _ = built(tmp_path / "whole", [first, second, third])
    assert content(store) == content(whole)


def test_copies_are_stored_once(tmp_path):
    """The same pixels, in another file, of another name, or in another source."""
    path = write_photos(tmp_path / "a", 4)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (tmp_path / "a/copy.jpg").write_bytes(
        (tmp_path / "a" / lines[0]["image"]).read_bytes()
    )
    pixels = np.asarray(Image.open(tmp_path / "a" / lines[1]["image"]))
    (tmp_path / "a/other.png").write_bytes(encode_png(pixels))
    more = [
        lines[0] | {"image": "copy.jpg"},
        lines[1] | {"image": "other.png", "condition": "psoriasis"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines + more))
    store, outcome = built(tmp_path / "atlas", [annotations_source(path)])
    assert (outcome.images, outcome.added, outcome.doubled) == (4, 4, 2)
    (note,) = outcome.notes
    assert note.item == "other.png" and "what is stored stays" in note.reason
    assert lines[1]["condition"] in note.reason and "psoriasis" in note.reason
    _, again = built(tmp_path / "atlas", [annotations_source(path)])
    assert (again.images, again.added, again.known, len(again.notes)) == (4, 0, 6, 1)


def test_synthetic_images_among_photographs(tmp_path):
    """One with its mark is refused by that, one without by its pixels."""
    path = write_photos(tmp_path / "photos", 20)
    generated = write_generated(tmp_path / "generated", 3)
    painted = (generated / "images/000000.png").read_bytes()
    pixels = np.asarray(Image.open(generated / "images/000001.png"))
    (tmp_path / "photos/marked.png").write_bytes(painted)
    (tmp_path / "photos/unmarked.png").write_bytes(encode_png(pixels))
    line = json.loads(path.read_text().splitlines()[0])
    with path.open("a") as file:
        for name in ("marked.png", "unmarked.png"):
            file.write(json.dumps(line | {"image": name, "case_id": name}) + "\n")
    photos, paint = annotations_source(path), generated_source(generated)
    store, outcome = built(tmp_path / "atlas", [photos, paint])  # in either order
    assert outcome.images == 23
    assert [(one.item, one.reason[:40]) for one in outcome.rejects] == [
        ("marked.png", "is a synthetic image, not a photo; synth"),
        ("unmarked.png", "is pixel for pixel a synthetic image of "),
    ]
    assert len(store.browse(Filters((), (), ("synthetic",)), 9)) == 3

    # The unmarked one came first, and is found out when the painted ones are added.
    store, outcome = built(tmp_path / "later", [photos])
    assert outcome.images == 21
    store, outcome = built(tmp_path / "later", [paint])
    assert (outcome.images, outcome.added) == (23, 3)
    (note,) = outcome.notes
    assert note.item == "images/000001.png" and "as synthetic now" in note.reason
    assert len(store.browse(Filters((), (), ("synthetic",)), 9)) == 3


def test_painted_images_that_do_not_say_so_are_bad(tmp_path):
    generated = write_generated(tmp_path / "generated", 12)
    path = generated / "images/000002.png"
    path.write_bytes(encode_png(noise_image(64, 5)))
    _, outcome = built(tmp_path / "atlas", [generated_source(generated)])
    assert [one.item for one in outcome.rejects] == ["images/000002.png"]
    assert "does not say synthetic=true" in outcome.rejects[0].reason
    assert outcome.images == 11


def test_bad_photos_are_listed_with_a_cause(tmp_path):
    path = write_photos(tmp_path / "photos", 20)
    files = sorted((tmp_path / "photos").glob("*.jpg"))
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[1].write_bytes(b"<html>not here</html>")
    files[2].unlink()
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(TooManyRejects, match="4 of 21 items") as caught:
        built(tmp_path / "atlas", [annotations_source(path)])
    with pytest.raises(InputError, match="not finished"):
        AtlasStore(tmp_path / "atlas")
    store, outcome = built(
        tmp_path / "atlas", [annotations_source(path)], max_reject_fraction=0.2
    )
    assert (outcome.images, outcome.known, len(outcome.rejects)) == (17, 17, 4)
    write_rejects(tmp_path / "rejects.csv", outcome.rejects)
    with (tmp_path / "rejects.csv").open() as file:
        rows = {row["item"]: row["reason"] for row in csv.DictReader(file)}
    assert "truncated" in rows[files[0].name]
    assert "is HTML" in rows[files[1].name]
    assert rows[files[2].name] == "does not exist"
    assert {one.item for one in caught.value.rejects} == set(rows)


def test_vocabularies_of_sources(sources, tmp_path):
    photos, drawn, generated = opened(sources)
    odd = dataclasses.replace(generated, conditions=("eczema", "Melanoma"))
    with pytest.raises(InputError, match="vocabularies differ: .*generated has 'Mela"):
        common_vocabulary([odd, photos])
    names = common_vocabulary([odd, photos], [*CONDITIONS, "Melanoma"])
    assert names == (*CONDITIONS, "Melanoma")
    wide = dataclasses.replace(drawn, conditions=("acne",), fingerprint="of pairs")
    with pytest.raises(InputError, match="'eczema', .*drawn.* has acne; if both"):
        common_vocabulary([photos, wide])  # pairs tell, annotations follow
    with pytest.raises(InputError, match="--conditions lacks 'acne'"):
        common_vocabulary([photos], CONDITIONS, ("acne", "eczema"))
    with pytest.raises(InputError, match="the atlas has eczema; if"):
        common_vocabulary([photos], stored=("eczema",))
    built(tmp_path / "atlas", [photos])
    with pytest.raises(InputError, match="vocabularies differ"):
        built(tmp_path / "atlas", [odd])
    assert AtlasStore(tmp_path / "atlas").about.conditions == CONDITIONS
    store, _ = built(tmp_path / "atlas", [photos], conditions=[*CONDITIONS, "Melanoma"])
    assert store.about.conditions == (*CONDITIONS, "Melanoma")


def test_an_atlas_of_another_embedding(sources, tmp_path):
    class Other(ColourTexture):
        def __init__(self):
            super().__init__()
            self.fingerprint = "f" * 64

    photos = opened(sources)[:1]
    store, _ = built(tmp_path / "atlas", photos)
    with pytest.raises(InputError, match="do not compare") as caught:
        built(tmp_path / "atlas", photos, Other())
    assert "colour_texture:1 (weights ffffffff)" in str(caught.value)
    with pytest.raises(InputError, match="has no weights"):
        embedding_of(store.about, "colour_texture", "weights.h5", "x")
    with pytest.raises(InputError, match="give --picture_size=256"):
        built(tmp_path / "atlas", photos, picture_size=128)
    about = dataclasses.replace(store.about, embedding_flag="")
    with pytest.raises(InputError, match="whose file is needed"):
        embedding_of(about, None, None, "x")


def test_folders_of_something_else(sources, tmp_path):
    photos = opened(sources)[:1]
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and no atlas .it has 'notes.txt'"):
        open_for_build(tmp_path, photos, ColourTexture(), Settings())
    store, _ = built(tmp_path / "atlas", photos)
    import shutil

    shutil.rmtree(tmp_path / "atlas/about.lance")
    with pytest.raises(InputError, match="is damaged: it has 20 images and no record"):
        built(tmp_path / "atlas", photos)
    # A build that was killed before it had a record begins anew.
    begun = tmp_path / "begun"
    (begun / "images.lance/data").mkdir(parents=True)
    store, outcome = built(begun, photos)
    assert outcome.images == 20


def test_a_build_that_was_killed_at_its_very_beginning(sources, tmp_path):
    """Each table's folder is there, perhaps with a file in it, and no version of it."""
    for table in ("images", "about"):
        data = tmp_path / "atlas" / f"{table}.lance" / "data"
        data.mkdir(parents=True)
        (data / "begun.lance").write_bytes(b"begun")
        assert not has_atlas(tmp_path / "atlas")
    store, _ = built(tmp_path / "atlas", opened(sources))
    assert len(store) == len(AtlasStore(tmp_path / "atlas")) > 0


def test_an_atlas_that_lost_its_record(sources, tmp_path):
    built(tmp_path / "atlas", opened(sources))
    shutil.rmtree(tmp_path / "atlas" / "about.lance" / "_versions")
    with pytest.raises(InputError, match=r"damaged: it has \d+ images and no record"):
        built(tmp_path / "atlas", opened(sources))


@pytest.mark.slow
def test_pairs_and_synthetic_pairs(tmp_path):
    from dermgan_tf.apps.atlas.sources import pairs_source
    from tests.helpers.tiny_pairs import make_tiny_pairs

    pairs = make_tiny_pairs(tmp_path / "clinic")
    source = pairs_source(pairs)
    store, outcome = built(tmp_path / "atlas", [source])
    assert outcome.images + outcome.doubled == 15
    found = store.browse(ALL, 20)
    assert {one.split for one in found} == {"train", "validation"}
    assert {one.provenance for one in found} == {"real"}
    hashed = dataclasses.replace(source, anonymized_ids=True)
    with pytest.raises(InputError, match="anonymized already"):
        built(tmp_path / "other", [hashed], salt=b"0123456789abcdef")
    _, again = built(tmp_path / "atlas", [source])
    assert again.added == 0 and again.images == outcome.images


def test_marks():
    for width, height in ((16, 16), (64, 40), (256, 192), (30, 200)):
        sheet = marked(np.zeros((height, width, 3), np.uint8))
        assert sheet.shape[1] == width and (sheet[:height] == 0).all()
        band = sheet[height:]
        assert (band == BAND).all(axis=-1).mean() > 0.3
        if width >= 64:  # all letters, apart from each other
            columns = (band.max(axis=-1) < 160).any(axis=0)
            assert np.count_nonzero(np.diff(columns.astype(int)) == 1) >= len(MARK) - 1
    data, media_type, size = encode_picture(
        np.zeros((20, 30, 3), np.uint8), "synthetic", "Ekzem – ähnlich", "abc"
    )
    assert media_type == "image/png" and size == (33, 30)
    assert read_png_text(data)["condition"] == "Ekzem – ähnlich"
    assert shrunk(np.zeros((100, 30, 3), np.uint8), 50).shape == (50, 15, 3)
    assert shrunk(np.zeros((10, 30, 3), np.uint8), 50).shape == (10, 30, 3)


def test_a_sheet_has_the_marks(atlas):
    store, _ = atlas
    rows = [store.browse(Filters((), (), (name,)), 3) for name in ("synthetic", "real")]
    sheet = sheet_of(store, rows, ["a", "b"], "Title")
    half = len(sheet) // 2 + 12
    red = (sheet == BAND).all(axis=-1)
    assert red[:half].sum() > 1000 and red[half:].sum() == 0
