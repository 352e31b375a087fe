"""Whether a discriminator knows its training photographs by heart.

Karras et al. 2020 (arXiv 2006.06676, equation 1): with the means of its logits D,

    r_v = (E D(train) − E D(held out)) / (E D(train) − E D(synthetic))

is 0 where held-out photographs are judged like those it was trained on, and 1 where
they are judged like synthetic images: then it tells photographs by having seen them,
and has nothing more to teach the generator.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.judging.intervals import case_weights, share
from dermgan_tf.metrics.bootstrap import percentile_interval


def overfitting(
    logits: dict[str, ArrayLike], cases: dict[str, Sequence], seed: int = 0
) -> dict[str, Any]:
    """Compares what a discriminator says of three kinds of images.

    Args:
        logits: of "train", "held_out" and "synthetic", float [n] each, n ≥ 1; positive
            is a photograph.
        cases: of the same, [n]: the case of each image; of synthetic ones a name each.
        seed: int. Of the resamples.

    Returns:
        dict of taken_for_photographs: shares of positive logits by kind, as of
        `judging.intervals.share`; mean_logit: floats by kind; r_v: value and
        interval_95 over resampled cases, both None where photographs trained on are
        judged no better than synthetic images, and the interval where all of a kind
        are of one case.
    """
    draws = {
        kind: _means(logits[kind], cases[kind], seed + number)
        for number, kind in enumerate(("train", "held_out", "synthetic"))
    }
    value = float(_ratio(*(mean for mean, _ in draws.values())))
    defined, interval = not np.isnan(value), None
    if defined and min(len(set(cases[kind])) for kind in ("train", "held_out")) > 1:
        interval = percentile_interval(
            _ratio(*(resampled for _, resampled in draws.values()))
        )
    return {
        "taken_for_photographs": {
            kind: share(np.asarray(logits[kind]) > 0, cases[kind]) for kind in draws
        },
        "mean_logit": {kind: float(mean) for kind, (mean, _) in draws.items()},
        "r_v": {
            "value": value if defined else None,
            "interval_95": interval,
        },
    }


def _means(logits, cases, seed) -> tuple[np.ndarray, np.ndarray]:
    """The mean, [], and the means of resampled cases, [RESAMPLES]."""
    logits = np.asarray(logits, np.float64)
    names, case_of = np.unique(np.asarray(cases), return_inverse=True)
    weights = case_weights(len(names), seed)
    sums, sizes = np.bincount(case_of, logits), np.bincount(case_of)
    return logits.mean(), weights @ sums / (weights @ sizes)


def _ratio(train, held_out, synthetic) -> np.ndarray:
    gap = np.asarray(train - synthetic)
    lost = np.asarray(train - held_out)
    return np.divide(lost, gap, out=np.full_like(gap, np.nan), where=gap > 0)
