"""The validation loss against NumPy, its record, and the best step."""

import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.dermgan import validation
from dermgan_tf.models.dermgan.validation import Validation
from dermgan_tf.pairs.pairs import read_pairs
from dermgan_tf.training.logs import append_history, best_step, read_history
from tests.helpers.run_files import summary_values
from tests.helpers.tiny_pairs import make_tiny_pairs

WEIGHTS = {"reconstruction": 2.0, "condition": 3.0, "adversarial": 100.0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic")


def make(data_dir, folder, paint, first_step=0, **options):
    writer = tf.summary.create_file_writer(str(folder))
    return Validation(
        folder / "validation.csv",
        first_step,
        paint=paint,
        data_dir=data_dir,
        loss_weights=WEIGHTS,
        writer=writer,
        **options,
    )


class Painter:
    """Paints one colour, and remembers what it was asked for."""

    def __init__(self, colour=0.25):
        self.colour = colour
        self.calls = []

    def __call__(self, maps, seeds):
        self.calls.append((maps.numpy(), seeds.numpy()))
        return tf.fill(maps.shape, self.colour)


def test_loss_is_that_of_numpy(data_dir, tmp_path):
    painter = Painter()
    measured = make(data_dir, tmp_path, painter).measure(7)
    reconstruction, condition = [], []
    for pair in read_pairs(data_dir, "validation"):
        difference = np.abs(pair["image"] / 127.5 - 1 - painter.colour)
        inside = pair["semantic_map"][..., 1:].max(axis=-1) > 0
        reconstruction.append(difference.mean())
        condition.append(difference[inside].mean())
    assert len(reconstruction) == 3
    expected = {
        "step": 7,
        "loss": 2 * np.mean(reconstruction) + 3 * np.mean(condition),
        "reconstruction_loss": np.mean(reconstruction),
        "condition_loss": np.mean(condition),
    }
    assert measured == pytest.approx(expected["loss"], rel=1e-5)
    (row,) = read_history(tmp_path / "validation.csv")
    assert row == pytest.approx(expected, rel=1e-5)
    for name in expected.keys() - {"step"}:
        logged = summary_values(tmp_path, f"validation/{name}")
        assert list(logged) == [7]
        assert logged[7] == pytest.approx(expected[name], rel=1e-5)


def test_pairs_and_seeds_are_always_the_same(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "MAX_PAIRS", 2)
    painters = Painter(), Painter()
    for number, painter in enumerate(painters):
        (tmp_path / str(number)).mkdir()
        measure = make(data_dir, tmp_path / str(number), painter).measure
        assert measure(1) == measure(2)
        np.testing.assert_equal(painter.calls[:1], painter.calls[1:])
    np.testing.assert_equal(painters[0].calls, painters[1].calls)
    ((maps, seeds), _) = painters[0].calls
    assert maps.shape == (2, 64, 64, 3)
    assert seeds.tolist() == [0, 1]


@pytest.mark.parametrize(("count", "batches"), [(13, 13), (16, 2), (130, 16)])
def test_every_pair_is_looked_at_once(tmp_path, count, batches):
    pairs = make_tiny_pairs(tmp_path / "clinic", cases=5 * count)
    painter = Painter()
    make(pairs, tmp_path, painter).measure(1)
    assert len(painter.calls) == batches
    seeds = np.concatenate([seeds for _, seeds in painter.calls])
    assert seeds.tolist() == list(range(min(count, 128)))
    maps = np.concatenate([maps for maps, _ in painter.calls])
    assert len({m.tobytes() for m in maps}) > 0.8 * len(maps)  # few boxes coincide


def test_goes_on_with_its_record(data_dir, tmp_path):
    path = tmp_path / "validation.csv"
    for step, loss in enumerate([3.0, 1.0, 2.0, 0.5], 1):
        append_history(path, step, {"loss": loss, "reconstruction_loss": loss})
    assert best_step(path, [1, 2, 3, 4]) == 4
    make(data_dir, tmp_path, Painter(), first_step=3)
    assert best_step(path, [1, 2, 3, 4]) == 2
    assert best_step(path, [1, 3, 9]) == 3
    assert best_step(path, [9]) is None
    assert best_step(tmp_path / "none.csv", [1]) is None
    append_history(path, 4, {"loss": 1.0, "reconstruction_loss": 1.0})
    assert best_step(path, [2, 4]) == 2  # the first of equals


def test_what_is_not_finite_is_returned(data_dir, tmp_path):
    assert math.isnan(make(data_dir, tmp_path, Painter(math.nan)).measure(1))


def test_corrupt_record_is_named_or_skipped(data_dir, tmp_path):
    pairs = shutil.copytree(data_dir, tmp_path / "pairs")
    shard = next(pairs.glob("*validation*tfrecord*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"{shard.name}: corrupted record at \d+"):
        make(pairs, tmp_path, Painter()).measure(1)
    painter = Painter()
    make(pairs, tmp_path, painter, skip_corrupt_records=True).measure(1)
    assert [seeds.tolist() for _, seeds in painter.calls] == [[0, 1]]
