"""Checkpoints on disk: which are kept, what a damaged one does."""

import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.training.checkpoints import Checkpoints, restore_part, saved_steps


@pytest.fixture
def value():
    return tf.Variable(tf.zeros([1000]))


def save(folder, value, *steps, keep=2):
    checkpoints = Checkpoints(folder, keep, value=value)
    for step in steps:
        value.assign(tf.fill([1000], float(step)))
        checkpoints.save(step)
    return checkpoints


def test_keeps_the_last(tmp_path, value):
    assert Checkpoints(tmp_path / "none", 2, value=value).restore() == 0
    assert save(tmp_path, value, 1, 2, 3).saved_steps() == [2, 3]
    value.assign(tf.zeros([1000]))
    assert Checkpoints(tmp_path, 2, value=value).restore() == 3
    assert value.numpy()[0] == 3


def test_keeps_others_as_long_as_they_are_wanted(tmp_path, value):
    checkpoints = save(tmp_path, value, 1, 2)
    checkpoints.save(3, also_keep=[1])
    checkpoints.save(4, also_keep=[1, 4])
    assert checkpoints.saved_steps() == [1, 3, 4]
    # A run that goes on knows nothing of it, and loses nothing before it saves.
    checkpoints = Checkpoints(tmp_path, 2, value=value)
    assert checkpoints.restore() == 4
    assert saved_steps(tmp_path) == [1, 3, 4]
    checkpoints.save(5, also_keep=[4])
    assert saved_steps(tmp_path) == [4, 5]


def test_wrapped_optimizer_is_read_whole(tmp_path):
    def make():
        weight = keras.Variable([1.0, 2.0])
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1))
        optimizer.build([weight])
        return weight, optimizer

    weight, optimizer = make()
    for gradient in ([np.inf, 0.0], [3.0, 4.0], [-1.0, 1.0]):
        optimizer.apply([tf.constant(gradient)], [weight])
    assert int(optimizer.iterations) == 2  # the first was skipped
    Checkpoints(tmp_path, 2, weight=weight, optimizer=optimizer).save(3)
    other_weight, other = make()
    checkpoints = Checkpoints(tmp_path, 2, weight=other_weight, optimizer=other)
    assert checkpoints.restore() == 3
    assert len(other.variables) == len(optimizer.variables) >= 6
    for ours, theirs in zip(other.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_part_of_one_is_read(tmp_path, value):
    other = tf.Variable([1.0, 2.0])
    Checkpoints(tmp_path, 2, value=value, other=other).save(5)
    before = sorted(tmp_path.iterdir())
    read = tf.Variable([0.0, 0.0])
    restore_part(tmp_path, 5, other=read)
    assert read.numpy().tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="step-5 holds less than this version needs"):
        restore_part(tmp_path, 5, another=read)
    data = tmp_path / "step-5.data-00000-of-00001"
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(InputError, match="step-5 is damaged: .*goes on from the one"):
        restore_part(tmp_path, 5, other=read)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_one_falls_back(tmp_path, value, suffix, damage, caplog):
    save(tmp_path, value, 5, 10)
    path = tmp_path / f"step-10.{suffix}"
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:middle])
    else:
        flipped = bytes([content[middle] ^ 255])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    checkpoints = Checkpoints(tmp_path, 2, value=value)
    assert checkpoints.restore() == 5
    assert value.numpy()[0] == 5
    assert checkpoints.saved_steps() == [5]
    if (suffix, damage) != ("index", "missing"):  # then there is none of step 10
        assert "step-10 is damaged" in caplog.text
        assert "trying the one before" in caplog.text
    checkpoints.save(7)
    assert Checkpoints(tmp_path, 2, value=value).saved_steps() == [5, 7]


def test_all_damaged(tmp_path, value):
    save(tmp_path, value, 5, 10)
    for path in tmp_path.glob("*.index"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 2 checkpoints"):
        Checkpoints(tmp_path, 2, value=value).restore()


def test_half_written_one_is_removed(tmp_path, value):
    save(tmp_path, value, 5)
    (tmp_path / "partial" / "step-10_temp").mkdir(parents=True)
    (tmp_path / "partial" / "step-10.index").write_bytes(b"x")
    (tmp_path / "step-10.data-00000-of-00001").write_bytes(b"x")
    Checkpoints(tmp_path, 2, value=value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-5.data-00000-of-00001",
        "step-5.index",
    ]


def test_full_disk(tmp_path, value):
    checkpoints = save(tmp_path, value, 5)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match="step 10 .*that of step 5 is intact"):
            save(tmp_path, value, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("step-10*"))
    assert checkpoints.restore() == 5
    assert value.numpy()[0] == 5
