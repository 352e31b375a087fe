"""Searches of an atlas against NumPy's brute force, and what may not be asked."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.helpers.atlas_images import ALL, brute_force, drawn_vectors, vector_atlas
from tests.helpers.study_pools import CONDITIONS, noise_image

pytest.importorskip("lancedb")

from dermgan_tf.apps.atlas.about import About, checked_conditions
from dermgan_tf.apps.atlas.colour_texture import ColourTexture
from dermgan_tf.apps.atlas.filters import Filters, parse_filters
from dermgan_tf.apps.atlas.query import admitted_by, on_skin_colours
from dermgan_tf.apps.atlas.store import AtlasStore, connect
from dermgan_tf.apps.atlas.vectors import unit_vectors
from dermgan_tf.errors import InputError

FILTERS = [
    ALL,
    Filters(("eczema",)),
    Filters((), (5,)),
    Filters((), (0, 6), ("synthetic",)),
    Filters(("eczema", "melanoma"), (1, 2, 3), ("real", "phantom")),
    Filters(("psoriasis",), (4,), ("real",)),
]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """3,000 vectors, indexed."""
    return vector_atlas(tmp_path_factory.mktemp("atlas") / "atlas", 3000, 1000)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_exact_search_is_brute_force(atlas, filters):
    store, facts, vectors = atlas
    for asked in drawn_vectors(5, seed=7):
        found = store.similar(asked, filters, 10, exact=True)
        wanted = brute_force(facts, vectors, filters, asked, 10)
        assert [one.id for one in found] == wanted
        by_id = {one.id: one for one in facts}
        for one in found:
            row = int(one.id, 16)
            assert one.similarity == pytest.approx(vectors[row] @ asked, abs=1e-5)
            assert dataclasses.replace(one, similarity=None) == by_id[one.id]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_search_by_the_index(atlas, filters):
    store, facts, vectors = atlas
    assert store.about.indexed == 3000
    recalls = []
    for asked in drawn_vectors(30, seed=8):
        found = {one.id for one in store.similar(asked, filters, 10)}
        wanted = brute_force(facts, vectors, filters, asked, 10)
        recalls.append(len(found & set(wanted)) / len(wanted))
    assert np.mean(recalls) >= 0.95


def test_a_filter_that_leads_away_from_what_is_asked_for(tmp_path):
    """Type VI lies elsewhere than the vector: none of its nearest partitions has it."""
    apart = drawn_vectors(2000, seed=3)
    away = apart[:, 0] > np.quantile(apart[:, 0], 0.9)
    types = np.where(away, 6, 1)
    store, facts, vectors = vector_atlas(tmp_path / "atlas", 2000, 500, apart, types)
    filters = Filters((), (6,))
    for asked in apart[~away][np.argsort(apart[~away][:, 0])[:20]]:
        found = [one.id for one in store.similar(asked, filters, 10)]
        assert found == brute_force(facts, vectors, filters, asked, 10)


def test_pages_of_a_search_go_on(atlas):
    store, facts, vectors = atlas
    (asked,) = drawn_vectors(1, seed=9)
    filters = Filters(("eczema",))
    own = facts[3].id
    pages = [
        store.similar(asked, filters, 7, offset, exact=True, without=own)
        for offset in (0, 7, 14)
    ]
    ids = [one.id for page in pages for one in page]
    assert ids == brute_force(facts, vectors, filters, asked, 21, without=own)


def test_browse_and_counts(atlas):
    store, facts, _ = atlas
    counts = store.counts()
    for filters in FILTERS:
        wanted = sorted(
            one.id
            for one in facts
            if filters.admits(one.condition, one.fitzpatrick, one.provenance)
        )
        assert admitted_by(counts, filters) == len(wanted)
        pages = [store.browse(filters, 50, offset) for offset in (0, 50)]
        assert [one.id for page in pages for one in page] == wanted[:100]
    assert store.browse(ALL, 10, 3000) == []


def test_rows_that_came_after_the_index_are_found(tmp_path):
    from tests.helpers.atlas_images import NewImage

    store, facts, vectors = vector_atlas(tmp_path / "atlas", 600, 500)
    new = dataclasses.replace(facts[0], id="f" * 32)
    (asked,) = drawn_vectors(1, seed=10)
    store.add([NewImage(new, "", "", b"y", "image/png", asked)])
    assert store.similar(asked, ALL, 1)[0].id == "f" * 32
    store.finish(500)
    assert store.similar(asked, ALL, 1)[0].id == "f" * 32
    assert store.about.images == 601 and store.about.indexed == 600
    assert store.picture("f" * 32) == (b"y", "image/png")


def test_the_same_condition_on_six_skin_colours(atlas):
    store, facts, vectors = atlas
    origin = facts[17]
    asked = store.vector(origin.id)
    assert asked == pytest.approx(vectors[17])
    found = on_skin_colours(store, asked, "melanoma", 3, ("real",), without=origin.id)
    assert list(found) == [1, 2, 3, 4, 5, 6]
    for skin_type, images in found.items():
        filters = Filters(("melanoma",), (skin_type,), ("real",))
        wanted = brute_force(facts, vectors, filters, asked, 3, origin.id)
        assert [one.id for one in images] == wanted
    with pytest.raises(InputError, match="unknown condition"):
        on_skin_colours(store, asked, "acne")


EVIL = (
    "' OR '1'='1",
    "eczema'; DROP TABLE images; --",
    "eczema') OR true OR (condition = 'x",
    '" OR 1=1 --',
    "eczema\x00",
    "%",
    "*",
    "ECZEMA",
    "../../etc/passwd",
    "{{7*7}}",
)


@pytest.mark.parametrize("text", EVIL)
def test_filters_are_looked_up_not_parsed(atlas, text):
    store, facts, _ = atlas
    for given in ({"conditions": [text]}, {"provenances": [text]}):
        with pytest.raises(InputError, match="unknown"):
            parse_filters(CONDITIONS, **given)
    with pytest.raises(InputError, match="unknown Fitzpatrick skin type"):
        parse_filters(CONDITIONS, fitzpatrick=[text])
    # Even unchecked it is a value for the store, and of none of its images.
    assert store.browse(Filters((text,)), 10) == []
    assert store.similar(drawn_vectors(1)[0], Filters((text,)), 10) == []
    assert store.facts(text) is None and store.picture(text) is None
    with pytest.raises(InputError, match="no image"):
        store.remove(text)
    assert len(store) == 3000


def test_filters():
    found = parse_filters(CONDITIONS, ["", "eczema"] * 2, ["IV", "4", "unknown"], [""])
    assert found == Filters(("eczema",), (4, 0), ())
    with pytest.raises(InputError, match="more than 2000 values"):
        parse_filters(CONDITIONS, ["eczema"] * 2001)


def test_vectors_that_cannot_be_asked_for(atlas):
    store, *_ = atlas
    for bad in (np.zeros(5), np.full(24, np.nan)):
        with pytest.raises(InputError, match="finite vector"):
            store.similar(bad)


def test_what_is_no_sound_atlas(tmp_path, atlas):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="is no atlas"):
            AtlasStore(path)
    store, *_ = vector_atlas(tmp_path / "small", 40, 1000)
    store.write_about(dataclasses.replace(store.about, state="building"))
    with pytest.raises(InputError, match="not finished: run the same"):
        AtlasStore(tmp_path / "small")
    assert len(AtlasStore(tmp_path / "small", ready=False)) == 40
    store.write_about(dataclasses.replace(store.about, state="ready"))

    def damaged(name, damage):
        folder = shutil.copytree(tmp_path / "small", tmp_path / name)
        damage(folder)
        with pytest.raises(InputError) as caught:
            broken = AtlasStore(folder)
            broken.similar(drawn_vectors(1)[0])
        text = str(caught.value)
        assert str(folder) in text and "\n" not in text and len(text) < 600
        return text

    def cut(folder):
        for path in pathlib.Path(folder, "images.lance", "data").iterdir():
            path.write_bytes(path.read_bytes()[:50])

    def lose(folder):
        for path in pathlib.Path(folder, "images.lance", "data").iterdir():
            path.unlink()

    assert "damaged" in damaged("cut", cut)
    assert "damaged" in damaged("lost", lose)
    assert "has no images" in damaged(
        "no images", lambda folder: shutil.rmtree(folder / "images.lance")
    )
    assert "is no atlas" in damaged(
        "no about", lambda folder: shutil.rmtree(folder / "about.lance")
    )


def test_other_tables_and_other_formats(tmp_path):
    import pyarrow as pa

    store, *_ = vector_atlas(tmp_path / "atlas", 20, 1000)
    about = store.about

    def say(text):
        connect(tmp_path / "atlas").create_table(
            "about", pa.table({"about": [text]}), mode="overwrite"
        )
        with pytest.raises(InputError) as caught:
            AtlasStore(tmp_path / "atlas")
        return str(caught.value)

    record = json.loads(about.to_json())
    assert "atlas format 9" in say(json.dumps(record | {"format_version": 9}))
    for text in ("{", "[]", json.dumps(record | {"odd": 1}), json.dumps({})):
        assert "is damaged" in say(text)
    wide = dataclasses.replace(about, embedding=about.embedding | {"features": 99})
    assert "its columns are others" in say(wide.to_json())
    assert About.from_json(about.to_json(), "x") == about


def test_vocabularies():
    assert checked_conditions(["b", "a"], "x") == ("b", "a")
    for names in ([], ["a", "a"], ["a", " "], ["a\n"], [3], ["a"] * 1001):
        with pytest.raises(InputError, match="^x: "):
            checked_conditions(names, "x")


def test_unit_vectors():
    found = unit_vectors(np.array([[3, 4, 0, 0], [0, 0, 0, 0]], np.float64))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[0.6, 0.8, 0, 0], [0.5] * 4]))


def test_colour_texture():
    """Alike is what has colours and edges at the same places, whatever its size."""
    embedding = ColourTexture()
    y, x = np.mgrid[:96, :96]
    skin = np.full((96, 96, 3), (205, 160, 135), np.uint8)
    spot = skin.copy()
    spot[((y - 40) ** 2 + (x - 40) ** 2) < 300] = (90, 50, 40)
    moved = np.roll(spot, 3, axis=0)
    dark = (spot * 0.4).astype(np.uint8)
    vectors = embedding.embed([spot, spot[::2, ::2], moved, skin, dark], batch_size=2)
    assert vectors.shape == (5, embedding.num_features) and vectors.dtype == np.float32
    vectors = unit_vectors(vectors)
    to_spot = vectors @ vectors[0]
    assert to_spot[1] > 0.97 and to_spot[2] > 0.9
    assert to_spot[3] < to_spot[2] and to_spot[4] < to_spot[2]
    assert ColourTexture().fingerprint == embedding.fingerprint
    black = embedding.embed([np.zeros((20, 30, 3), np.uint8)])
    assert np.isfinite(black).all()
    noisy = [noise_image(32, place) for place in range(3)]
    assert np.array_equal(embedding.embed(noisy), embedding.embed(noisy))
    with pytest.raises(InputError, match="no images"):
        embedding.embed([])
