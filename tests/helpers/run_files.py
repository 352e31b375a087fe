"""Reads and compares what training runs leave behind."""

import h5py
import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_weights(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return arrays


def assert_same_weights(folder, other):
    for name in ("generator", "discriminator", "generator_ema"):
        ours = read_weights(folder / f"{name}.weights.h5")
        theirs = read_weights(other / f"{name}.weights.h5")
        assert ours.keys() == theirs.keys() and len(ours) > 10
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


def summary_values(folder, tag):
    """What TensorBoard shows of one tag: a dict of values by step, each there once."""
    events = EventAccumulator(str(folder), {"tensors": 0}).Reload().Tensors(tag)
    events = sorted(events, key=lambda event: event.step)
    values = {event.step: tf.make_ndarray(event.tensor_proto) for event in events}
    assert len(values) == len(events)
    return values


def assert_same_run(folder, other, step):
    """Weights, average, optimizers, means and logs are equal to the last bit."""
    ours, theirs = (
        tf.train.load_checkpoint(run / "checkpoints" / f"step-{step}")
        for run in (folder, other)
    )
    shapes = ours.get_variable_to_shape_map()
    assert shapes == theirs.get_variable_to_shape_map()
    names = [name for name in shapes if not name.startswith("_CHECKPOINT")]
    # The optimizers' parts hold the networks' weights, too.
    for part, count in {
        "generator_optimizer/": 100,
        "discriminator_optimizer/": 30,
        "ema_generator/": 30,
        "means/": 12,
        "step/": 1,
    }.items():
        assert sum(name.startswith(part) for name in names) >= count
    for name in names:
        np.testing.assert_array_equal(
            ours.get_tensor(name), theirs.get_tensor(name), err_msg=name
        )
    assert_same_weights(folder, other)
    for name in ("history.csv", "validation.csv"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    for part in ("checkpoints", "samples"):
        ours, theirs = (sorted((run / part).iterdir()) for run in (folder, other))
        assert [path.name for path in ours] == [path.name for path in theirs]
    for path in (other / "samples").iterdir():
        assert (folder / "samples" / path.name).read_bytes() == path.read_bytes()
