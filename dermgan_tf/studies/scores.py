"""Scores of one prediction file, on many resamples of its cases at once.

A resample is a column of weights: how often each case was drawn. Every score is made of
sums over cases, so that a sparse matrix times the weights gives it for all resamples.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.sparse

from dermgan_tf.classifier.predictions import Predictions

CALIBRATION_BINS = 15
TOP = 3
# Scores of all photos, and of the photos of each skin type; all lie in 0…1.
SCORES = (
    "top_1",
    "top_3",
    "macro_f1",
    "macro_recall",
    "macro_sensitivity",
    "macro_auc",
    "calibration_error",
)
# Scores of one condition against the rest.
CONDITION_SCORES = ("precision", "recall", "f1", "sensitivity", "auc")


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The photos that all predictions are of.

    Args:
        labels: int64 [N].
        cases: int64 [N], 0…C − 1.
        skin_types: int64 [N], 0…6, 0 = unknown.
        conditions: the K names.
        case_names: str [C].
    """

    labels: np.ndarray
    cases: np.ndarray
    skin_types: np.ndarray
    conditions: tuple[str, ...]
    case_names: np.ndarray

    __test__ = False  # pytest: not a test class

    @classmethod
    def of(cls, predictions: Predictions) -> "TestSet":
        names, cases = np.unique(predictions.cases, return_inverse=True)
        return cls(
            predictions.labels,
            cases,
            predictions.skin_types,
            predictions.conditions,
            names,
        )

    @property
    def types(self) -> list[int]:
        """The skin types that have photos, ascending; 0 among them where some is."""
        return np.unique(self.skin_types).tolist()

    @property
    def strata(self) -> np.ndarray:
        """int [C]: equal for cases whose photos show the same set of conditions."""
        shown = np.zeros((len(self.case_names), len(self.conditions)), bool)
        shown[self.cases, self.labels] = True
        return np.unique(shown, axis=0, return_inverse=True)[1].ravel()

    def photos_and_cases(self, which: np.ndarray) -> dict[str, int]:
        """Counts of the photos where bool [N] `which` is True."""
        return {
            "photos": int(which.sum()),
            "cases": len(np.unique(self.cases[which])),
        }


class Scorer:
    """Computes all scores of one prediction file.

    Args:
        test_set: N photos of C cases, K conditions and T skin types that have photos.
        probabilities: float64 [N, K].
        specificity: float, 0…1. Where sensitivity is read off; see `RankScorer`.
    """

    def __init__(
        self, test_set: TestSet, probabilities: np.ndarray, specificity: float
    ):
        labels, cases = test_set.labels, test_set.cases
        count, types = len(test_set.case_names), test_set.types
        self._k, self._t = len(test_set.conditions), len(types)
        kind = np.searchsorted(types, test_set.skin_types)  # [N], 0…T − 1
        predicted = probabilities.argmax(axis=1)
        hit = predicted == labels
        confidence = probabilities.max(axis=1)
        bins = np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1
        bins = np.clip(bins, 0, CALIBRATION_BINS - 1)
        top_hit = place_of_label(probabilities, labels) < TOP
        self.predicted, self.hit = predicted, hit  # [N] each
        # Each a sparse [groups · T, C], whose sums over cases make the scores.
        self.counts = {
            name: case_sums(group * self._t + kind, groups * self._t, cases, count, v)
            for name, group, groups, v in (
                ("true", labels, self._k, None),
                ("predicted", predicted, self._k, None),
                ("hits", labels, self._k, hit),
                ("top_hits", 0, 1, top_hit),
                ("calibration", bins, CALIBRATION_BINS, hit - confidence),
            )
        }
        self._ranks = [
            [
                RankScorer(
                    probabilities[photos, k],
                    labels[photos] == k,
                    cases[photos],
                    count,
                    specificity,
                )
                for k in range(self._k)
            ]
            for photos in [slice(None), *(kind == t for t in range(self._t))]
        ]

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """All scores; NaN where one is undefined.

        Args:
            weights: float64 [C, R], how often each case counts.

        Returns:
            float64 arrays by name: `SCORES` [1 + T, R], of all photos and then of each
            skin type; `CONDITION_SCORES` [K, R]; "recall_by_type" [K, T, R].
        """
        counts = {name: sums @ weights for name, sums in self.counts.items()}
        ranked = np.array([[r.scores(weights) for r in row] for row in self._ranks])
        auc, sensitivity = ranked[:, :, 0], ranked[:, :, 1]  # [1 + T, K, R]
        return {
            **count_scores(counts, self._t),
            "macro_sensitivity": mean_of_defined(sensitivity.swapaxes(0, 1)),
            "macro_auc": mean_of_defined(auc.swapaxes(0, 1)),
            "sensitivity": sensitivity[0],
            "auc": auc[0],
        }


def count_scores(counts: Mapping[str, np.ndarray], types: int) -> dict[str, np.ndarray]:
    """The scores that are made of counts alone.

    Args:
        counts: [groups · T, R] by name, as `Scorer.counts` times weights.
        types: int, T.

    Returns:
        As `Scorer.scores`, without sensitivities and areas.
    """
    by_type = {name: x.reshape(-1, types, x.shape[-1]) for name, x in counts.items()}
    true, predicted, hits, top_hits, calibration = (
        with_total(by_type[name], axis=1)
        for name in ("true", "predicted", "hits", "top_hits", "calibration")
    )
    photos = true.sum(0)
    recall = ratio(hits, true)
    # A condition without photos has no F1, even where it was predicted.
    f1 = np.where(true > 0, ratio(2 * hits, true + predicted), np.nan)
    top_3 = ratio(top_hits[0], photos)
    return {
        "top_1": ratio(hits.sum(0), photos),
        "top_3": top_3 if len(true) > TOP else np.full_like(top_3, np.nan),
        "macro_f1": mean_of_defined(f1),
        "macro_recall": mean_of_defined(recall),
        # Guo et al. 2017: |accuracy − confidence| of each bin, weighted by its photos.
        "calibration_error": ratio(np.abs(calibration).sum(0), photos),
        "precision": ratio(hits[:, 0], predicted[:, 0]),
        "recall": recall[:, 0],
        "f1": f1[:, 0],
        "recall_by_type": recall[:, 1:],
    }


class RankScorer:
    """ROC-AUC, and sensitivity at a fixed specificity, of one score.

    The area is the share of pairs of a positive and a negative photo in which the
    positive scores higher; ties count half (Hanley and McNeil 1982). The sensitivity is
    the largest that any threshold reaches at the given specificity or more; the
    threshold is chosen on each resample anew, so that its choice is in the interval.

    Args:
        scores: [n].
        positive: bool [n].
        cases: int [n], 0…C − 1.
        count: int, C.
        specificity: float, 0…1.
    """

    def __init__(
        self,
        scores: np.ndarray,
        positive: np.ndarray,
        cases: np.ndarray,
        count: int,
        specificity: float,
    ):
        # Negative photos lie in 2 M + 1 segments: at one of the M levels of positive
        # scores (odd numbers), or below, between and above them (even numbers).
        levels, level = np.unique(scores[positive], return_inverse=True)
        negative = scores[~positive]
        segment = np.searchsorted(levels, negative, "left")
        segment += np.searchsorted(levels, negative, "right")
        self._positive = case_sums(level, len(levels), cases[positive], count)
        self._negative = case_sums(
            segment, 2 * len(levels) + 1, cases[~positive], count
        )
        self._false_share = 1 - specificity

    def scores(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The area and the sensitivity, [R] each; NaN without photos of either side."""
        positive, negative = self._positive @ weights, self._negative @ weights
        reached = np.cumsum(negative, axis=0)
        positives, negatives = positive.sum(0), reached[-1]
        below, level = reached[:-1:2], negative[1::2]
        pairs = (positive * (below + level / 2)).sum(0)
        # The hair is for shares like 1 - 0.9, which is a little under 0.1.
        allowed = negatives - below <= self._false_share * negatives + 1e-9
        found = np.where(negatives > 0, (positive * allowed).sum(0), np.nan)
        return ratio(pairs, positives * negatives), ratio(found, positives)


def place_of_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """int [N]: how many conditions come before the true one; ties go by position."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)


def case_sums(
    groups: np.ndarray, group_count: int, cases: np.ndarray, count: int, values=None
) -> scipy.sparse.csr_array:
    """float64 [group_count, count]: sums of values (or counts) by group and case."""
    values = np.ones(len(groups)) if values is None else np.asarray(values, np.float64)
    return scipy.sparse.csr_array(
        scipy.sparse.coo_array((values, (groups, cases)), shape=(group_count, count))
    )


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    nothing = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.divide(above, below, out=nothing, where=below != 0)


def with_total(values: np.ndarray, axis: int) -> np.ndarray:
    """Puts the sum over skin types before them: T along `axis` becomes 1 + T."""
    total = values.sum(axis=axis, keepdims=True)
    return np.concatenate([total, values], axis=axis)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis without NaN; NaN where nothing is defined."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0))
