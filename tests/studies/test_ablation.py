"""The ablation's statistics, judging and folder, against independent computations."""

import csv
import io
import json

import numpy as np
import pytest
import scipy.stats

from dermgan_tf.errors import InputError
from dermgan_tf.metrics import frechet_distance, frechet_trials, kernel_distance
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.dermgan.model import DEFAULT_LOSS_WEIGHTS
from dermgan_tf.pairs.pairs import read_pairs
from dermgan_tf.reports.tables import csv_bytes
from dermgan_tf.studies import ablation
from dermgan_tf.studies.ablation import MODELS, over_seeds, table_rows
from dermgan_tf.studies.runs import (
    DistanceJudge,
    shown_positions,
    study_folder,
    switched,
    with_defaults,
)
from tests.helpers.tiny_pairs import make_tiny_pairs

FRECHET = {
    "full": [11.0, 14.0, 12.5, 10.0],
    "transposed_conv": [15.0, 17.5, 14.0, 13.0],
    "no_condition_loss": [30.0, 28.0, 35.0, 31.0],
}


def fake_runs(values):
    return {
        name: [
            {"seed": seed, "frechet_trials": {"mean": v}, "kernel_distance": v / 100}
            for seed, v in enumerate(own)
        ]
        for name, own in values.items()
    }


class MeanColours(Embedding):
    """An embedding that can be computed by hand: the mean colours of four quarters."""

    name, fingerprint, resizing = "colours", "0", "none"
    num_features, image_size = 12, (64, 64)

    def __init__(self):
        self.embedded = 0

    def embed(self, images):
        images = np.stack(list(images)).astype(np.float32)
        self.embedded += len(images)
        return images.reshape(-1, 2, 32, 2, 32, 3).mean(axis=(2, 4)).reshape(-1, 12)


class Darkener:
    """A generator that paints each map as it is, darker by the seed."""

    def paint(self, maps, seeds):
        return maps - np.minimum(maps, np.array(seeds, np.uint8)[:, None, None, None])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic", cases=50)


def test_intervals_over_seeds_are_students():
    values = FRECHET["full"]
    got = over_seeds(values)
    assert got["mean"] == pytest.approx(np.mean(values))
    assert got["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert got["interval_95"] == pytest.approx(list(expected))
    assert got["seeds"] == 4
    one = over_seeds([3.0])
    assert one["mean"] == 3 and one["interval_95"] is None
    assert one["standard_deviation"] is None


def test_differences_are_paired_by_seed():
    runs = fake_runs(FRECHET)
    runs["transposed_conv"].reverse()  # the order of runs does not matter
    rows = {row["model"]: row for row in table_rows(runs)}
    assert rows["full"]["minus_full"] is None
    for name in ("transposed_conv", "no_condition_loss"):
        got = rows[name]["minus_full"]
        paired = scipy.stats.ttest_rel(FRECHET[name], FRECHET["full"])
        expected = list(paired.confidence_interval(0.95))
        assert got["frechet"]["interval_95"] == pytest.approx(expected)
        assert got["kernel"]["interval_95"] == pytest.approx(np.array(expected) / 100)
    assert rows["no_condition_loss"]["paper"] == {"mean": 174.0, "deviation": 4.7}
    without_full = table_rows(fake_runs({"transposed_conv": [1.0, 2.0]}))
    assert without_full[0]["minus_full"] is None


def test_models_change_what_their_names_say():
    training = with_defaults({"steps": 5, "loss_weights": {"condition": 7}})
    assert training["loss_weights"] == {**DEFAULT_LOSS_WEIGHTS, "condition": 7}
    changed = {
        name: {
            key: value
            for key, value in flat(switched(training, model["switches"])).items()
            if value != flat(training).get(key)
        }
        for name, model in MODELS.items()
    }
    assert changed == {
        "full": {},
        "transposed_conv": {"upsampling": "transposed_conv"},
        "no_condition_loss": {"condition": 0},
        "no_feature_matching": {"feature_matching": 0},
        "diversity_loss": {"diversity": 0.05},
    }


def flat(training):
    return {**training, **training["loss_weights"], "loss_weights": None}


def test_judge_agrees_with_the_metrics(data_dir, tmp_path):
    embedding = MeanColours()
    judge = DistanceJudge(
        data_dir, embedding, "validation", tmp_path / "real.npz", trials=6
    )
    pairs = list(read_pairs(data_dir, "validation"))
    train = list(read_pairs(data_dir, "train"))
    maps = np.stack([pair["semantic_map"] for pair in pairs])
    painted = Darkener().paint(maps, range(len(maps)))
    real = embedding.embed(pair["image"] for pair in pairs)
    synthetic = embedding.embed(painted)
    # As many training images, at places drawn as documented.
    drawn = np.sort(np.random.default_rng(0).permutation(len(train))[: len(pairs)])
    other = embedding.embed(train[place]["image"] for place in drawn)

    got, shown = judge.distances(Darkener())
    assert got["images"] == len(pairs) == 10
    with pytest.warns(match="Fréchet distance of"):
        for a, result in ((synthetic, got), (other, judge.real_distances())):
            assert result["frechet_distance"] == frechet_distance(a, real)
            assert result["kernel_distance"] == kernel_distance(a, real)
            assert result["frechet_trials"] == frechet_trials(a, real, 6, seed=0)
            assert result["kernel_trials"]["sample_size"] == 5
    assert list(shown) == judge.shown
    for position, image in shown.items():
        np.testing.assert_array_equal(image, painted[position])

    # What is kept of the real images serves the next start.
    embedding.embedded = 0
    again = DistanceJudge(
        data_dir, embedding, "validation", tmp_path / "real.npz", trials=6
    )
    assert embedding.embedded == 0 and again.distances(Darkener())[0] == got

    with pytest.raises(InputError, match="stopped while painting"):
        judge.distances(Darkener(), stop_requested=lambda: True)
    with pytest.raises(InputError, match="no split 'test'; it has: train, validation"):
        DistanceJudge(data_dir, embedding, "test", tmp_path / "test.npz")
    with pytest.raises(InputError, match="7 images .* at least 8 are needed"):
        DistanceJudge(
            data_dir, embedding, "validation", tmp_path / "7.npz", max_images=7
        )


def test_few_training_images_are_replaced_by_halves(data_dir, tmp_path):
    embedding = MeanColours()
    judge = DistanceJudge(data_dir, embedding, "train", tmp_path / "real.npz", trials=3)
    got = judge.real_distances()
    assert got["compared"] == "random halves of the real train images"
    assert got["images"] == 20 and got["frechet_trials"]["sample_size"] == 20


def test_a_sheet_shows_the_first_of_each_condition():
    conditions = ["nevus"] * 20 + ["eczema"] * 2 + ["acne"]
    positions = np.arange(100, 123)
    # acne, eczema, nevus, eczema, nevus and then nevus only: eight in all
    assert shown_positions(positions, conditions) == [
        *range(100, 105),
        120,
        121,
        122,
    ]


def test_a_study_is_of_one_configuration(tmp_path):
    facts = {"training": {"steps": 4, "loss_weights": {"condition": 5.0}}, "trials": 3}
    folder = tmp_path / "study"

    def enter(facts, overwrite=False):
        with study_folder(folder, "study.json", facts, ["runs"], overwrite):
            (folder / "runs").mkdir(exist_ok=True)

    enter(facts)
    enter({**facts, "training": {**facts["training"], "checkpoint_every": 9}})
    other = {"training": {"steps": 4, "loss_weights": {"condition": 6.0}}, "trials": 3}
    with pytest.raises(InputError) as caught:
        enter(other)
    assert str(caught.value) == (
        f"{folder} was begun with condition_weight 5.0, this call asks for 6.0; repeat "
        "it with 5.0, choose another folder, or pass --overwrite to start anew"
    )
    with study_folder(folder, "study.json", facts, []):
        with pytest.raises(InputError, match="in use by another process"):
            enter(facts)
    (folder / "notes.txt").touch()
    (folder / "runs" / "old").touch()
    enter(other, overwrite=True)
    assert not (folder / "runs" / "old").exists() and (folder / "notes.txt").exists()
    assert json.loads((folder / "study.json").read_text()) == other
    (folder / "study.json").unlink()
    with pytest.raises(InputError, match="holds no study.json"):
        enter(facts, overwrite=True)
    assert (folder / "notes.txt").exists()


def test_unknown_model(data_dir, tmp_path):
    with pytest.raises(InputError, match="unknown model 'fulll'; known: full, "):
        ablation.run_ablation(
            data_dir, tmp_path / "out", MeanColours(), {}, models=["fulll"]
        )
    assert not (tmp_path / "out").exists()


def test_csv_leaves_undefined_fields_empty():
    rows = [{"a": 1.5, "b": None}, {"a": 'x, "y"', "b": 2}]
    read = list(csv.DictReader(io.StringIO(csv_bytes(rows).decode())))
    assert read == [{"a": "1.5", "b": ""}, {"a": 'x, "y"', "b": "2"}]
