import itertools
import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from dermgan_tf.errors import InputError
from dermgan_tf.judging.diversity import diversity
from tests.helpers.judged_pairs import SIZE, Painter, make_pair, one_image

NAMES = ("melanoma", "eczema")


class Pixels:
    """Embeds an image as a few of its pixels: all of it is to be understood."""

    def embed(self, images):
        some = [image[::16, ::16].astype(np.float32).ravel() for image in images]
        if not some:
            raise InputError("no images to embed")
        return np.stack(some)


def noise(seed, spread=20):
    rng = np.random.default_rng(seed)
    return rng.normal(128, spread, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)


def pairs_of(count=12, first=0, photos=2, types=(2, 5), condition=None):
    """Noise for photographs, equally different from each other."""
    return [
        {
            **make_pair(
                i,
                condition or NAMES[i // photos % 2],
                types[i // photos % len(types)],
                case=f"case{i // photos}",
            ),
            "image": noise(10_000 + i),
        }
        for i in range(first, first + count)
    ]


def judged(painter, pairs=None, embedding=None, **options):
    found = diversity(painter, embedding or Pixels(), pairs or pairs_of(), **options)
    json.dumps(found, allow_nan=False)
    return found


def test_distances_against_scipy():
    pairs, train = pairs_of(16, types=(2, 2, 5, 5)), pairs_of(8, first=100)
    painter = Painter(lambda m, seed: noise(seed, spread=10))
    found = judged(painter, pairs, train_pairs=train, seeds_per_map=3)
    assert found["seeds_per_map"] == 3
    assert [row["condition"] for row in found["by_condition"]] == sorted(NAMES)
    row = found["by_condition"][1]
    own = [i for i, pair in enumerate(pairs) if pair["condition"] == "melanoma"]
    assert (row["maps"], row["map_cases"]) == (8, 4)
    assert (row["real_images"], row["real_cases"]) == (12, 6)
    painted = [
        Pixels().embed(noise(3 * i + k, spread=10) for k in range(3)) for i in own
    ]
    distances = row["distances"]
    expected = np.mean([pdist(images).mean() for images in painted])
    assert distances["same_map"]["value"] == pytest.approx(expected)
    assert distances["same_map"]["pairs"] == 8 * 3
    between = [
        cdist(a, b).mean()
        for (i, a), (j, b) in itertools.combinations(zip(own, painted, strict=True), 2)
        if pairs[i]["case_id"] != pairs[j]["case_id"]
    ]
    assert distances["between_maps"]["value"] == pytest.approx(np.mean(between))
    photographs = [p for p in [*pairs, *train] if p["condition"] == "melanoma"]
    compared = {"real": [], "real_same_type": []}
    for a, b in itertools.combinations(photographs, 2):
        if a["case_id"] != b["case_id"]:
            distance = pdist(Pixels().embed([a["image"], b["image"]]))[0]
            compared["real"].append(distance)
            if a["fitzpatrick"] == b["fitzpatrick"]:
                compared["real_same_type"].append(distance)
    for name, values in compared.items():
        assert distances[name]["pairs"] == len(values)
        assert distances[name]["value"] == pytest.approx(np.mean(values), rel=1e-5)
        low, high = distances[name]["interval_95"]
        assert low <= distances[name]["value"] <= high
    ratio = row["ratios"]["same_map / real"]
    assert ratio["value"] == pytest.approx(
        expected / np.mean(compared["real"]), rel=1e-5
    )
    assert ratio["interval_95"][0] <= ratio["value"] <= ratio["interval_95"][1]
    overall = found["overall"]["same_map / real"]
    values = [r["ratios"]["same_map / real"]["value"] for r in found["by_condition"]]
    assert overall["value"] == pytest.approx(np.mean(values))
    assert (overall["conditions"], overall["left_out"]) == (2, [])


def test_as_diverse_as_photographs():
    found = judged(Painter(lambda m, seed: noise(seed)))
    for ratio in found["overall"].values():
        assert ratio["value"] == pytest.approx(1, abs=0.06)
        assert 0.8 < ratio["interval_95"][0] <= ratio["interval_95"][1] < 1.2


def test_planted_collapses():
    constant = judged(Painter(one_image))["overall"]
    assert all(ratio["value"] == 0 for ratio in constant.values())
    # Each map has an image of its own, whatever the seed.
    pairs = pairs_of()
    deaf = judged(Painter(lambda m, seed: noise(seed // 4)), pairs)["overall"]
    assert deaf["same_map / real"]["value"] == 0
    assert deaf["between_maps / real"]["value"] == pytest.approx(1, abs=0.06)
    # A few images for all maps, chosen by the seed.
    few = judged(Painter(lambda m, seed: noise(seed % 4)), pairs)["overall"]
    assert few["same_map / real"]["value"] == pytest.approx(1, abs=0.06)
    assert few["between_maps / real"]["value"] == pytest.approx(0.75, abs=0.06)


def test_rare_conditions_are_left_out_and_named():
    pairs = [*pairs_of(8, condition="melanoma"), *pairs_of(2, 90, condition="eczema")]
    found = judged(Painter(lambda m, seed: noise(seed)), pairs)
    rare = found["by_condition"][0]
    assert (rare["condition"], rare["map_cases"]) == ("eczema", 1)
    assert rare["distances"]["same_map"]["value"] is not None
    assert rare["distances"]["same_map"]["interval_95"] is None
    assert rare["distances"]["real"]["value"] is None
    for ratio in rare["ratios"].values():
        assert ratio["value"] is None and "3 are needed" in ratio["undefined"]
    for ratio in found["overall"].values():
        assert ratio["left_out"] == ["eczema"] and ratio["conditions"] in (0, 1)
    assert found["overall"]["same_map / real"]["value"] is not None
    # Two cases of each type: too few for the stricter reference.
    strict = found["overall"]["same_map / real_same_type"]
    assert strict["conditions"] == 1
    nobody = judged(Painter(one_image), pairs_of(2))["overall"]["same_map / real"]
    assert nobody["value"] is None and nobody["interval_95"] is None
    one = judged(Painter(one_image), pairs_of(1))["by_condition"][0]
    assert one["distances"]["between_maps"]["value"] is None


def test_photographs_that_do_not_differ():
    pairs = [{**pair, "image": noise(0)} for pair in pairs_of()]
    found = judged(Painter(lambda m, seed: noise(seed)), pairs)
    ratio = found["by_condition"][0]["ratios"]["same_map / real"]
    assert ratio["undefined"] == "the images of real do not differ"
    unknown = judged(Painter(one_image), pairs_of(types=(0,)))["by_condition"][0]
    assert unknown["distances"]["real_same_type"]["pairs"] == 0
    assert "0 cases" in unknown["ratios"]["same_map / real_same_type"]["undefined"]


def test_bad_input():
    painter = Painter(one_image)

    class Broken(Pixels):
        def embed(self, images):
            return super().embed(images) * np.nan

    with pytest.raises(InputError, match="NaN"):
        diversity(painter, Broken(), pairs_of())
    with pytest.raises(InputError, match="no pair with a box of its condition"):
        diversity(painter, Pixels(), [])
    with pytest.raises(InputError, match="1 seeds a map"):
        diversity(painter, Pixels(), pairs_of(), seeds_per_map=1)
    with pytest.raises(InputError, match="case case0 is both held out and trained on"):
        diversity(painter, Pixels(), pairs_of(), pairs_of(1))


def test_the_number_of_maps_and_photographs_is_bounded():
    painter = Painter(one_image)
    found = judged(painter, iter(pairs_of(24)), maps_per_condition=5, max_real=7)
    assert [row["maps"] for row in found["by_condition"]] == [5, 5]
    assert [row["real_images"] for row in found["by_condition"]] == [7, 7]
    assert sum(painter.batches) == 2 * 5 * 4
