"""Intervals for answers that every participant gives to every image.

Answers of one participant go together, and so do answers to one image; both are samples
of more (other readers, other images of the same generator). The variance of a mean over
such a table is therefore estimated with two ways of clustering,

    V = V_participants + V_images − V_answers

(Cameron, Gelbach, Miller 2011, "Robust inference with multiway clustering", eq. 2.11,
each part times G / (G − 1) of its G clusters), and never less than either of the first
two. It needs no complete table: who stopped half-way counts with what they answered.
Degrees of freedom are Satterthwaite's, so that two participants do not pass for many.

A statistic enters by its influence values: how much each answer moves it (its
linearization). For a mean these are the deviations over their number.
"""

from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95


def variance(influence: np.ndarray) -> tuple[float, float]:
    """Variance of a statistic, and its degrees of freedom.

    Args:
        influence: float [participants, images]; NaN where there is no answer.

    Returns:
        (variance, degrees of freedom); NaN both for a single answer.
    """
    there = ~np.isnan(influence)
    values = np.where(there, influence, 0.0)
    rows = values[there.any(axis=1)].sum(axis=1)
    columns = values[:, there.any(axis=0)].sum(axis=0)
    return combined(rows, columns, influence[there])


def combined(
    rows: np.ndarray, columns: np.ndarray, cells: np.ndarray
) -> tuple[float, float]:
    """As `variance`, from sums by participant, sums by image, and the answers."""
    parts = [_clustered(rows), _clustered(columns)]
    clusters = [len(rows), len(columns)]
    known = [(v, n - 1) for v, n in zip(parts, clusters, strict=True) if n > 1]
    if not known:
        return np.nan, np.nan
    if len(known) == 1:  # one participant, or one image: nothing is known of others
        return known[0]
    both = sum(parts) - _clustered(cells)
    total = max(both, *parts)
    spread = sum(v**2 / df for v, df in known)
    # Never fewer than the fewest clusters give: V may be much less than its parts.
    least = min(df for _, df in known)
    return total, max(total**2 / spread, least) if spread else float(least)


def rate(values: np.ndarray) -> dict[str, Any]:
    """A share of answers, with its interval.

    Wilson's interval (1927) with the number of independent answers that would have the
    same variance, as Korn and Graubard (1998) have it for surveys: n = p (1 − p) / V,
    times the ratio of the normal's and Student's squared quantiles. Where all answers
    are alike V says nothing; n is then the number of images or of participants, the
    larger.

    Args:
        values: float [participants, images] of 0 and 1; NaN where there is no answer.

    Returns:
        dict of value, interval_95 (list or None), answers, participants, images.
    """
    there = ~np.isnan(values)
    count = int(there.sum())
    found = {
        "value": None,
        "interval_95": None,
        "answers": count,
        "participants": int(there.any(axis=1).sum()),
        "images": int(there.any(axis=0).sum()),
    }
    if not count:
        return found
    share = float(values[there].mean())
    found["value"] = share
    if count > 1:
        spread, freedom = variance((values - share) / count)
        found["interval_95"] = _wilson(share, spread, freedom, found)
    return found


def estimate(value: float, influence: np.ndarray) -> dict[str, Any]:
    """Any statistic with Student's interval.

    Args:
        value: float.
        influence: as of `variance`.

    Returns:
        dict of value, interval_95 (list or None).
    """
    return interval_of(value, *variance(influence))


def interval_of(value: float, spread: float, freedom: float) -> dict[str, Any]:
    """As `estimate`, from a variance and its degrees of freedom."""
    if not np.isfinite(value):
        return {"value": None, "interval_95": None}
    if not np.isfinite(spread):
        return {"value": float(value), "interval_95": None}
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(spread))
    return {"value": float(value), "interval_95": [value - half, value + half]}


def _wilson(share, spread, freedom, found) -> list[float]:
    normal = stats.norm.ppf(0.5 + LEVEL / 2)
    if spread > 0:
        count = min(share * (1 - share) / spread, found["answers"])
        count *= (normal / stats.t.ppf(0.5 + LEVEL / 2, freedom)) ** 2
    else:
        count = max(found["images"], found["participants"])
    centre = (share + normal**2 / (2 * count)) / (1 + normal**2 / count)
    half = (
        normal
        * np.sqrt(share * (1 - share) / count + normal**2 / (4 * count**2))
        / (1 + normal**2 / count)
    )
    return [float(max(centre - half, 0.0)), float(min(centre + half, 1.0))]


def _clustered(sums: np.ndarray) -> float:
    """Σ s² · G / (G − 1) of G clusters' sums; 0 for one cluster."""
    clusters = len(sums)
    if clusters < 2:
        return 0.0
    return float(np.sum(np.square(sums)) * clusters / (clusters - 1))
