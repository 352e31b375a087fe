"""All distances between synthetic and real images, overall and by group.

Beside every distance from the real images stands the same distance between those and
other real ones, over samples of the same size: what sample size alone adds is in both.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.metrics import (
    frechet_distance,
    frechet_extrapolated,
    frechet_trials,
    kernel_distance,
    kernel_trials,
    precision_recall,
    precision_recall_trials,
)
from dermgan_tf.progress import silent

MIN_GROUP = 20  # images; a trial takes half of them
NEIGHBOURS = 3  # the k of precision and recall, as in Kynkäänniemi et al. 2019


def overall_distances(
    synthetic: np.ndarray,
    real: np.ndarray,
    other_real: np.ndarray,
    split: str,
    trials: int = 50,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Distances of all images, and of real images to other real ones.

    Args:
        synthetic, real: [n, d], n ≥ 8: activations of synthetic images, and of the real
            ones of the same maps.
        other_real: [m, d], m ≥ 0: of real images of other cases. Where m < n, random
            halves of `real` are compared with each other instead.
        split: str. What `real` is called.
        trials, seed, progress: as of `frechet_trials`.

    Returns:
        dict of synthetic_real and real_real, each with
            compared              what with what, in words
            images                on each side
            frechet_distance      of all of them
            frechet_trials        mean, standard_deviation, interval_95, trials and
                                  sample_size, over random subsets
            frechet_extrapolated  to infinitely many images
            kernel_distance, kernel_trials: likewise
            precision, recall, density, coverage; neighbour_trials: likewise
    """
    draws = {"trials": trials, "seed": seed, "progress": progress}
    count = len(real)
    half = count // 2
    if len(other_real) >= count:
        compared = f"real train images drawn at random, the real {split} images"
        other, reference, within = _drawn(other_real, count, seed), real, None
    else:
        compared = f"random halves of the real {split} images"
        mixed = _drawn(real, count, seed)
        other, reference, within = mixed[:half], mixed[half : 2 * half], real
    with _quiet():
        return {
            "synthetic_real": {
                "compared": f"synthetic images, real {split} images of the same maps",
                **set_distances(synthetic, real, half, **draws),
            },
            "real_real": {
                "compared": compared,
                **_at_once(other, reference),
                **(
                    _over_trials(other, reference, half, draws)
                    if within is None
                    else _over_trials(within, None, half, draws)
                ),
                "frechet_extrapolated": frechet_extrapolated(
                    other, reference, seed=seed
                ),
            },
        }


def set_distances(
    images: np.ndarray,
    real: np.ndarray,
    sample_size: int,
    trials: int = 50,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """All distances between two sets of activations.

    Args:
        images, real: [n, d], [m, d].
        sample_size: int. Of the trials.
        trials, seed, progress: as of `frechet_trials`.

    Returns:
        dict as `overall_distances` has two of, without "compared".
    """
    draws = {"trials": trials, "seed": seed, "progress": progress}
    with _quiet():
        return {
            **_at_once(images, real),
            **_over_trials(images, real, sample_size, draws),
            "frechet_extrapolated": frechet_extrapolated(images, real, seed=seed),
        }


def grouped_distances(
    synthetic: np.ndarray,
    real: np.ndarray,
    groups: Sequence,
    other_real: np.ndarray,
    other_groups: Sequence,
    trials: int = 50,
    seed: int = 0,
    progress: Callable = silent,
) -> list[dict[str, Any]]:
    """Distances within each group: of one condition, or of one skin type.

    Args:
        synthetic, real: [n, d], as of `overall_distances`.
        groups: [n], the group that each pair of them is of.
        other_real: [m, d], of real images of other cases.
        other_groups: [m], their groups.
        trials, seed, progress: as of `frechet_trials`.

    Returns:
        list of one dict a group, in sorted order: group, images, other_real_images,
        synthetic_real and real_real. Each of these has frechet_trials, kernel_trials
        and neighbour_trials; or is None, and too_few says why.
    """
    groups, other_groups = np.asarray(groups), np.asarray(other_groups)
    draws = {"trials": trials, "seed": seed}
    rows = []
    names = np.unique(groups).tolist()
    for name in progress(names, total=len(names), desc="groups"):
        own, other = groups == name, other_groups == name
        count, others = int(own.sum()), int(other.sum())
        half = count // 2
        row = {
            "group": name,
            "images": count,
            "other_real_images": others,
            "synthetic_real": None,
            "real_real": None,
            "too_few": None,
        }
        if count < MIN_GROUP:
            row["too_few"] = f"{count} images; at least {MIN_GROUP} are needed"
        else:
            with _quiet():
                row["synthetic_real"] = _over_trials(
                    synthetic[own], real[own], half, draws
                )
                if others >= half:
                    row["real_real"] = _over_trials(
                        other_real[other], real[own], half, draws
                    )
                else:
                    row["too_few"] = (
                        f"{others} other real images; {half}, as in a trial, are needed"
                    )
        rows.append(row)
    return rows


def _at_once(a: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    return {
        "images": len(a),
        "frechet_distance": frechet_distance(a, reference),
        "kernel_distance": kernel_distance(a, reference),
        **precision_recall(real=reference, synthetic=a, k=NEIGHBOURS),
    }


def _over_trials(
    a: np.ndarray, reference: np.ndarray | None, sample_size: int, draws: dict[str, Any]
) -> dict[str, Any]:
    """None as the reference takes two disjoint samples of `a`."""
    draws = {**draws, "sample_size": sample_size}
    # Precision is the synthetic set's, which `precision_recall_trials` takes second.
    real, synthetic = (a, None) if reference is None else (reference, a)
    return {
        "frechet_trials": frechet_trials(a, reference, **draws),
        "kernel_trials": kernel_trials(a, reference, **draws),
        "neighbour_trials": precision_recall_trials(
            real, synthetic, k=NEIGHBOURS, **draws
        ),
    }


def _drawn(samples: np.ndarray, count: int, seed: int) -> np.ndarray:
    return samples[np.random.default_rng(seed).permutation(len(samples))[:count]]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back the warning of few samples: a remark says it in the report."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Fréchet distance of")
        yield
