import io
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from dermgan_tf.errors import InputError
from dermgan_tf.judging.memorization import (
    _compared,
    closest_sheet,
    memorization,
    turned,
)
from tests.helpers.judged_pairs import SIZE, Painter, make_pair, one_image

COUNT = 40


class Grid:
    """Embeds an image as the mean colours of a 4 × 4 grid."""

    def embed(self, images):
        some = [
            image.reshape(4, SIZE // 4, 4, SIZE // 4, 3).mean(axis=(1, 3)).ravel()
            for image in images
        ]
        if not some:
            raise InputError("no images to embed")
        return np.stack(some).astype(np.float32)


def blotches(seed, spread=40):
    """A photograph like no other, of the same kind."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal((190, 140, 110), spread, (4, 4, 3))
    image = np.kron(coarse, np.ones((SIZE // 4, SIZE // 4, 1)))
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def pairs_of(count=COUNT, first=0):
    return [
        {**make_pair(i, case=f"case{i // 2}"), "image": blotches(i)}
        for i in range(first, first + count)
    ]


TRAIN = pairs_of(120, first=1000)


def embedded(train):
    cases = [pair["case_id"] for pair in train]
    return Grid().embed(pair["image"] for pair in train), cases


def judged(paint_one, pairs=None, train=TRAIN, **options):
    found = memorization(
        Painter(paint_one), Grid(), pairs or pairs_of(), *embedded(train), **options
    )
    json.dumps(found, allow_nan=False)
    return found


def replayed(seed):
    return TRAIN[7 * seed % len(TRAIN)]["image"]


def noisy(seed):
    noise = np.random.default_rng(seed).normal(0, 8, (SIZE, SIZE, 3))
    return (replayed(seed) + noise).clip(0, 255).astype(np.uint8)


def compressed(seed):
    file = io.BytesIO()
    Image.fromarray(replayed(seed)).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def mirrored(seed):
    return turned(replayed(seed), seed % 8)


@pytest.mark.parametrize("copy", [replayed, noisy, compressed, mirrored])
def test_copies_are_caught(copy):
    found = judged(lambda m, seed: copy(seed))
    assert found["memorised"] is True and found["undefined"] is None
    assert (found["scenes"], found["cases"]) == (40, 20)
    assert found["train_images"] == 120 and found["mirrored"]
    for measure in ("distance", "relative"):
        assert found[measure]["p"] < 0.01
        assert found[measure]["synthetic"]["value"] == 1
        assert found[measure]["expected"] == 1 / 40
    assert len(found["closest"]) == 10
    distances = [one["distance"] for one in found["closest"]]
    assert distances == sorted(distances)
    for one in found["closest"]:
        assert one["train"] == 7 * one["synthetic"] % len(TRAIN)
        assert 0 <= one["relative"] < 0.5


def test_mirrored_copies_are_seen_by_turning_alone():
    found = judged(lambda m, seed: turned(replayed(seed), 1 + seed % 7), mirrored=False)
    assert found["memorised"] is False and found["mirrored"] is False


def test_one_copy_among_many_is_caught():
    honest = pairs_of(COUNT, first=5000)

    def paint_one(semantic_map, seed):
        return replayed(seed) if seed == 17 else honest[seed]["image"]

    found = judged(paint_one)
    assert found["memorised"] and found["copies"] == 1
    assert found["closest"][0]["synthetic"] == 17
    assert found["closest"][0]["distance"] == 0
    assert found["distance"]["p"] > 0.01


@pytest.mark.parametrize("first", [3000, 4000, 5000, 6000])
def test_photographs_of_others_are_not(first):
    others = pairs_of(COUNT, first)
    found = judged(lambda m, seed: others[seed]["image"], seed=first)
    assert found["memorised"] is False and found["copies"] == 0
    assert found["distance"]["p"] > 0.01
    medians = [
        found["distance"]["percentiles"][kind]["50"]
        for kind in ("synthetic", "held_out")
    ]
    assert medians[0] == pytest.approx(medians[1], rel=0.2)


def test_dull_images_are_near_to_all_and_no_copies():
    found = judged(lambda m, seed: blotches(seed + 7000, spread=15))
    assert found["distance"]["p"] < 0.01
    assert found["relative"]["p"] > 0.01
    assert found["memorised"] is False


def test_the_share_is_that_of_the_distances():
    pairs = pairs_of()
    images = [blotches(i + 8000, spread=25) for i in range(COUNT)]
    found = judged(lambda m, seed: images[seed], pairs, mirrored=False)
    neighbours = NearestNeighbors(n_neighbors=50).fit(
        Grid().embed(pair["image"] for pair in TRAIN)
    )
    own, _ = neighbours.kneighbors(Grid().embed(images))
    real, _ = neighbours.kneighbors(Grid().embed(pair["image"] for pair in pairs))
    for measure, synthetic, held_out in (
        ("distance", own[:, 0], real[:, 0]),
        ("relative", own[:, 0] / own.mean(axis=1), real[:, 0] / real.mean(axis=1)),
    ):
        threshold = held_out.min()  # the 1st percentile of 40
        assert found[measure]["threshold"] == pytest.approx(threshold, rel=1e-4)
        hits = int((synthetic <= threshold).sum())
        assert found[measure]["synthetic"]["hits"] == hits
        assert found[measure]["percentiles"]["synthetic"]["50"] == pytest.approx(
            np.median(synthetic), rel=1e-4
        )


def test_the_verdict_is_rarely_wrong_about_honest_images():
    """The permutation test keeps its level: p is no smaller than by chance."""
    rng = np.random.default_rng(0)
    cases = np.repeat([f"c{i}" for i in range(20)], 3)
    below = 0
    for trial in range(60):
        # Images of a case are alike.
        synthetic, held_out = np.repeat(rng.normal(5, 1, (2, 20)), 3, axis=1)
        below += _compared(synthetic, held_out, cases, trial)["p"] < 0.05
    assert below <= 8  # of 60 at 5 %: more than 8 has probability 0.003


def test_too_few_and_shared_photographs():
    few = judged(lambda m, seed: blotches(seed + 9000), pairs_of(6))
    assert few["memorised"] is None and "3 cases; 8 are needed" in few["undefined"]
    caught = judged(lambda m, seed: replayed(seed), pairs_of(6))
    assert caught["memorised"] is True
    shared = [{**pair, "image": replayed(i)} for i, pair in enumerate(pairs_of())]
    leaking = judged(lambda m, seed: replayed(seed), shared)
    assert leaking["memorised"] is None
    assert "equal to training images" in leaking["undefined"]
    flat = [{**pair, "image": one_image(None, 0)} for pair in pairs_of()]
    train = [{**pair, "image": one_image(None, 0)} for pair in TRAIN]
    assert judged(one_image, flat, train)["memorised"] is None
    one = judged(lambda m, seed: blotches(9), pairs_of(1), TRAIN[:1])
    assert one["memorised"] is None and len(one["closest"]) == 1


def test_bad_input():
    painter = Painter(one_image)

    class Broken(Grid):
        def embed(self, images):
            return super().embed(images) * np.nan

    with pytest.raises(InputError, match="NaN"):
        memorization(painter, Broken(), pairs_of(), *embedded(TRAIN))
    with pytest.raises(InputError, match="no held-out pairs"):
        memorization(painter, Grid(), [], *embedded(TRAIN))
    with pytest.raises(InputError, match="training images' activations have 0 rows"):
        memorization(painter, Grid(), pairs_of(), np.zeros((0, 48)), [])
    with pytest.raises(InputError, match="case case0 is both held out and trained on"):
        memorization(painter, Grid(), pairs_of(), *embedded(pairs_of(1)))


def test_turns_are_the_eight_positions_of_a_square():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    expected = {
        np.ascontiguousarray(np.rot90(start, k)).tobytes()
        for start in (image, image[:, ::-1])
        for k in range(4)
    }
    assert {turned(image, turn).tobytes() for turn in range(8)} == expected
    np.testing.assert_array_equal(turned(image, 0), image)


def test_the_sheet_shows_copies_turned_alike():
    found = judged(lambda m, seed: mirrored(seed))
    synthetic = {
        one["synthetic"]: mirrored(one["synthetic"]) for one in found["closest"]
    }
    train = {one["train"]: TRAIN[one["train"]]["image"] for one in found["closest"]}
    sheet = closest_sheet(found["closest"], synthetic, train)
    assert sheet.dtype == np.uint8 and len(sheet) > 10 * 96
    for one in found["closest"]:
        np.testing.assert_array_equal(
            turned(synthetic[one["synthetic"]], one["turn"]), train[one["train"]]
        )
