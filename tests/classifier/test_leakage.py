"""Planted leaks: copies among held-out photos, and a generator that saw too much."""

import dataclasses
import hashlib
import json
import shutil

import cv2
import keras
import numpy as np
import pytest

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.labelled_reading import read_labelled_splits
from dermgan_tf.classifier.leakage import (
    HeldOutPhotos,
    named_pairs,
    require_gan_inside,
    trained_case_digests,
)
from dermgan_tf.errors import InputError
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.phantom import case_plan, draw_photo, phantom_vocabulary
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.photo_io import encode_jpeg
from dermgan_tf.photos.square import turned
from tests.helpers.tiny_pairs import make_tiny_pairs

SIZE = 64


def labelled(images, cases=None, prefix="photo"):
    return LabelledImages(
        np.stack(images),
        np.zeros(len(images), int),
        ("eczema", "melanoma"),
        cases,
        np.array([f"{prefix}{i}" for i in range(len(images))]),
    )


@pytest.fixture(scope="module")
def photos():
    """One photo each of 48 phantom cases of two conditions."""
    vocabulary = phantom_vocabulary(2)
    return [
        draw_photo(case, 0, vocabulary, (96, 128)).photo
        for case in case_plan(48, vocabulary, seed=5)
    ]


@pytest.fixture(scope="module")
def embedding():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    for seed, filters in enumerate((16, 32)):
        kernel = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Conv2D(
            filters, 3, strides=2, activation="relu", kernel_initializer=kernel
        )(x)
    return Embedding(keras.Model(inputs, x), "random")


def squashed(photo):
    return cv2.resize(photo, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def scaled(photo, factor):
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def recompressed(photo, quality):
    data = np.frombuffer(encode_jpeg(np.ascontiguousarray(photo), quality), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


COPIES = {
    "itself": lambda photo: photo,
    "recompressed": lambda photo: recompressed(photo, 50),
    "halved": lambda photo: scaled(photo, 0.5),
    "enlarged": lambda photo: scaled(photo, 2),
    "mirrored, recompressed": lambda photo: recompressed(photo[:, ::-1], 75),
    "upside down, recompressed": lambda photo: recompressed(photo[::-1], 75),
    "turned by 180°, halved": lambda photo: scaled(photo[::-1, ::-1], 0.5),
}
TURNS = [0, 0, 0, 0, 1, 2, 3]


def test_planted_copies_are_found_and_other_photos_are_not(photos, embedding):
    cases = np.array([f"case{i}" for i in range(24)])
    held_out = labelled([squashed(photo) for photo in photos[:24]], cases, "held")
    others = [squashed(photo) for photo in photos[24:]]
    images, planted = list(others), {}
    for i, change in enumerate(COPIES.values()):
        for k in range(i, 24, 7):
            planted[len(images)] = k, TURNS[i]
            images.append(squashed(change(photos[k])))
    found = near_duplicates(labelled(images), held_out, embedding)
    assert {one.image: (one.held_out, one.turn) for one in found} == planted
    assert [one.image for one in found] == sorted(planted)
    first = found[0]  # the photo itself
    assert (first.image_id, first.held_out_id) == ("photo24", "held0")
    assert first.distance == first.relative == 0 and first.correlation > 0.999
    assert near_duplicates(labelled(others), held_out, embedding) == []
    named = named_pairs(found)
    assert named == "photo24 of held0, photo25 of held7, photo26 of held14 and 21 more"


def near_duplicates(images, held_out, embedding):
    return HeldOutPhotos(held_out, embedding).copies_among(images)


class Corner:
    """Embeds an image as its first corner's colour, whatever else it shows."""

    def embed(self, images, batch_size=32):
        return np.stack([image[0, 0] for image in images]).astype(np.float32)


def corner(red, seed, other=None, side=32):
    """A picture of noise with a corner of some red, perhaps half of another picture."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3))
    if other is not None:
        noise = (noise + np.random.default_rng(other).integers(0, 255, noise.shape)) / 2
    image = noise.astype(np.uint8)
    for y in (0, -1):  # all four, so that flips do not matter
        for x in (0, -1):
            image[y, x] = red, 0, 0
    return image


def test_distances_count_relative_to_the_nearest_photo_of_another_case():
    # Of case a two photos, 10 apart; to b's it is 100 from the second.
    held_out = labelled(
        [corner(0, 1), corner(10, 2), corner(110, 3)], np.array(["a", "a", "b"])
    )
    images = [(140, 3), (141, 3), (40, 2), (41, 2)]  # and half alike
    images = [corner(red, 9, other) for red, other in images] + [corner(110, 8)]
    found = near_duplicates(labelled(images), held_out, Corner())
    # 0.3 of 100 from b's, 0.3 of 100 from a's second. One step farther is not found,
    # nor what is equally red but shows something else.
    assert [(one.image, one.held_out) for one in found] == [(0, 2), (2, 1)]
    assert [one.relative for one in found] == pytest.approx([0.3, 0.3])
    assert all(0.3 < one.correlation < 0.7 for one in found)


def test_alike_thumbnails_count_up_to_a_distance():
    held_out = labelled([corner(0, 1), corner(60, 2)], np.array(["a", "b"]))
    near, far = corner(150, 2), corner(151, 2)  # 90 and 91 of 60 from b's
    found = near_duplicates(labelled([near, far]), held_out, Corner())
    assert [(one.image, one.held_out) for one in found] == [(0, 1)]
    assert found[0].relative == pytest.approx(1.5) and found[0].correlation > 0.87
    # Of a single case there is no distance to compare with: thumbnails decide.
    alone = dataclasses.replace(held_out, cases=np.array(["a", "a"]))
    found = near_duplicates(labelled([far, corner(61, 3)]), alone, Corner())
    assert [(one.image, one.held_out) for one in found] == [(0, 1)]
    assert np.isnan(found[0].relative)


def test_images_are_taken_from_the_map_by_batches(tmp_path, embedding, monkeypatch):
    make_tiny_pairs(tmp_path / "a", cases=15)
    splits, _ = read_labelled_splits(tmp_path / "a" / "pairs", 32)
    monkeypatch.setattr("dermgan_tf.classifier.leakage._ROWS_AT_ONCE", 4)
    train, held_out = splits["train"], splits["validation"]
    sizes = []
    copied = np.array

    def watched(values, *more, **named):
        if isinstance(values, np.memmap):
            sizes.append(len(values))
        return copied(values, *more, **named)

    monkeypatch.setattr(np, "array", watched)
    some = near_duplicates(train, held_out, embedding)
    assert sizes and max(sizes) <= 4
    monkeypatch.setattr("dermgan_tf.classifier.leakage._ROWS_AT_ONCE", 512)
    whole = near_duplicates(train, held_out, embedding)
    assert [dataclasses.astuple(one)[:4] for one in some] == [
        dataclasses.astuple(one)[:4] for one in whole
    ]


def test_sets_that_cannot_be_compared_are_refused(embedding):
    images = labelled([corner(0, 1)])
    with pytest.raises(InputError, match="come without cases"):
        near_duplicates(images, images, embedding)
    small = labelled([corner(0, 1, side=16)], np.array(["a"]))
    with pytest.raises(InputError, match="32 pixels wide, the held-out photos 16"):
        near_duplicates(images, small, embedding)
    assert (
        near_duplicates(
            images.take([]), labelled([corner(0, 1)], np.array(["a"])), Corner()
        )
        == []
    )


def test_flips_are_those_of_the_square():
    image = corner(0, 1)
    for turn, other in enumerate(
        (image, image[:, ::-1], image[::-1], image[::-1, ::-1])
    ):
        np.testing.assert_array_equal(turned(image, turn), other)


def test_case_digests_name_each_case_once_and_no_patient():
    digests = trained_case_digests(np.array(["b", "a", "b", "ä/1"]))
    expected = {hashlib.sha256(c.encode()).hexdigest()[:16] for c in ("a", "b", "ä/1")}
    assert digests == sorted(expected)


# --- The generator's cases ---


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("gan") / "a", cases=10)


def test_a_generator_whose_cases_are_all_trained_on_is_let_in(pairs):
    fingerprint = read_pairs_info(pairs).fingerprint
    cases = sorted({pair["case_id"] for pair in read_pairs(pairs, "train")})
    assert require_gan_inside(fingerprint, pairs, np.array([*cases, "more"])) == cases


def test_a_generator_that_saw_other_cases_is_refused_by_name(pairs):
    fingerprint = read_pairs_info(pairs).fingerprint
    with pytest.raises(
        InputError,
        match="trained on 4 of 8 cases .*'case1', 'case2', 'case3' and 1 more; .*split",
    ):
        require_gan_inside(fingerprint, pairs, ["case6", "case7", "case8", "case9"])


def test_case_ids_are_compared_under_one_salt(pairs, tmp_path):
    salt, fingerprint = b"0123456789abcdef", read_pairs_info(pairs).fingerprint
    cases = sorted({pair["case_id"] for pair in read_pairs(pairs, "train")})
    hashed = sorted(anonymous_case_id(case, salt) for case in cases)
    assert require_gan_inside(fingerprint, pairs, hashed, salt) == hashed
    with pytest.raises(InputError, match="trained on 8 of 8 cases"):
        require_gan_inside(fingerprint, pairs, hashed)
    # The same pairs, told to be anonymized: their ids are not hashed once more.
    told = shutil.copytree(pairs, tmp_path / "told")
    info = json.loads((told / "pairs.json").read_text())
    (told / "pairs.json").write_text(json.dumps({**info, "anonymized_ids": True}))
    for given_salt in (salt, None):
        assert require_gan_inside(fingerprint, told, cases, given_salt) == cases
        with pytest.raises(InputError, match="trained on 7 of 8 cases"):
            require_gan_inside(fingerprint, told, cases[:1], given_salt)
        with pytest.raises(InputError, match="none is one of .*same salt"):
            require_gan_inside(fingerprint, told, hashed, given_salt)


def test_a_generator_of_other_or_unknown_pairs_is_refused(pairs):
    with pytest.raises(InputError, match="other pairs than .*: on aaaaaaaaaaaaaaaa,"):
        require_gan_inside("a" * 64, pairs, [])
    for unknown in (None, ""):
        with pytest.raises(InputError, match="do not say what pairs"):
            require_gan_inside(unknown, pairs, [])
    with pytest.raises(InputError, match="is not a folder of pairs"):
        require_gan_inside("a" * 64, pairs.parent, [])


def test_damaged_pairs_are_named(tmp_path):
    pairs = make_tiny_pairs(tmp_path / "a", cases=10)
    fingerprint = read_pairs_info(pairs).fingerprint
    shard = next(pairs.glob("pairs-train*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    with pytest.raises(InputError, match=shard.name):
        require_gan_inside(fingerprint, pairs, [])
    shard.unlink()
    with pytest.raises(InputError, match="is missing"):
        require_gan_inside(fingerprint, pairs, [])
    info = json.loads((pairs / "pairs.json").read_text())
    del info["shards"]["train"], info["crops"]["train"]
    (pairs / "pairs.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="no split 'train'"):
        require_gan_inside(fingerprint, pairs, [])
