"""The distances against torch-fidelity's, of the same activations."""

import importlib
import sys
import types

import numpy as np
import pytest

from dermgan_tf.metrics import frechet_distance, kernel_distance, precision_recall

pytest.importorskip(
    "torch",
    reason='needs PyTorch and torch-fidelity: pip install "dermgan_tf[peers]"',
)


def activations(n, seed, scale=1.0, shift=0.0):
    """float32 [n, 24], correlated and non-negative: like a network's."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(24).normal(size=(24, 24)) / np.sqrt(24)
    samples = scale * rng.normal(size=(n, 24)) @ mix + shift
    return np.maximum(samples, 0).astype(np.float32)


REAL = activations(300, seed=1)
SYNTHETIC = activations(300, seed=2, scale=0.8, shift=0.2)


@pytest.fixture(scope="module")
def peer():
    """torch-fidelity's module of a given name."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):  # the latter: built for another PyTorch
            _stand_in_for_torchvision(patch)
        reason = 'needs torch-fidelity: pip install "dermgan_tf[peers]"'
        pytest.importorskip("torch_fidelity", reason=reason)
        yield lambda name: importlib.import_module(f"torch_fidelity.{name}")
        for name in [m for m in sys.modules if m.split(".")[0] == "torch_fidelity"]:
            del sys.modules[name]


def _stand_in_for_torchvision(patch):
    """torch-fidelity imports it to prepare images; distances do not need it."""
    datasets = dict.fromkeys(("CIFAR10", "CIFAR100", "STL10"), object)
    members = {"": {}, ".datasets": datasets, ".transforms": {}}
    members |= {".transforms.functional": {}, ".models": {}}
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        patch.delitem(sys.modules, name)
    for name, content in members.items():
        module = types.ModuleType(f"torchvision{name}")
        module.__dict__.update(content)
        patch.setitem(sys.modules, module.__name__, module)
        if name:
            parent, _, child = module.__name__.rpartition(".")
            setattr(sys.modules[parent], child, module)


def tensors():
    import torch

    return torch.from_numpy(SYNTHETIC), torch.from_numpy(REAL)


def test_frechet_distance_is_torch_fidelitys(peer):
    fid = peer("metric_fid")
    statistics = [fid.fid_features_to_statistics(x) for x in tensors()]
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet_distance(SYNTHETIC, REAL) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-4
    )


def test_kernel_distance_is_torch_fidelitys(peer):
    theirs = peer("metric_kid").kid_features_to_metric(
        *tensors(), kid_subsets=2, kid_subset_size=len(REAL), verbose=False
    )
    assert kernel_distance(SYNTHETIC, REAL) == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-4
    )


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelitys(peer, k):
    theirs = peer("metric_prc").prc_features_to_metric(
        *tensors(), prc_neighborhood=k, verbose=False
    )
    ours = precision_recall(REAL, SYNTHETIC, k)
    # Theirs are float32's: a sample on a ball's edge may fall on either side.
    assert ours["precision"] == pytest.approx(theirs["precision"], abs=0.5 / len(REAL))
    assert ours["recall"] == pytest.approx(theirs["recall"], abs=0.5 / len(REAL))
    assert 0.1 < ours["recall"] < 1 and 0.1 < ours["precision"] < 1
