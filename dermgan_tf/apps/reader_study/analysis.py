"""What a study's answers come to: rates, d′, tests, agreement. docs/reader_study.md
says what every number is.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from dermgan_tf.apps.reader_study import crossed
from dermgan_tf.apps.reader_study.answers import Answers, Table
from dermgan_tf.metrics.bootstrap import percentile_interval
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES

FEW_PARTICIPANTS = 5
FAST_MS = 300  # quicker than anyone looks and decides
# What the paper reports (arXiv 1911.08716), to be shown beside.
PAPER = {
    "participants": 10,
    "true_positive_rate": 0.52,
    "false_positive_rate": 0.30,
    "recall_real": 0.61,
    "recall_synthetic": 0.45,
}


def analyze(
    answers: Answers, resamples: int = 1000, permutations: int = 9999, seed: int = 0
) -> dict[str, Any]:
    """Analyzes a study.

    Args:
        answers: from `read_answers`.
        resamples: int. Of images, for the interval of Fleiss' κ.
        permutations: int. Of the test against chance.
        seed: int. Of both.

    Returns:
        dict that JSON can hold: study, people, turing and recognition (None where there
        is no answer), remarks (what to know before reading on). Rates have the keys
        value, interval_95, answers, participants, images.
    """
    rng = np.random.default_rng(seed)
    tables = answers.tables
    turing = recognition = None
    if tables["turing"].participants:
        turing = _turing(tables["turing"], resamples, permutations, rng)
        turing["seconds"] = _seconds(answers.times["turing"])
    if tables["recognition"].participants:
        recognition = _recognition(tables["recognition"], resamples, rng)
        recognition["seconds"] = _seconds(answers.times["recognition"])
    found = {
        "study": {
            "title": answers.study.title,
            "fingerprint": answers.study.fingerprint,
            "image_size": answers.study.image_size,
            "sources": _counts([i.source for t in tables.values() for i in t.images]),
        },
        "people": answers.people,
        "turing": turing,
        "recognition": recognition,
        "paper": PAPER,
        "settings": {"resamples": resamples, "permutations": permutations},
    }
    found["remarks"] = _remarks(answers, found)
    return found


def _turing(table: Table, resamples: int, permutations: int, rng) -> dict[str, Any]:
    real, synthetic = table.where(kind="real"), table.where(kind="synthetic")
    return {
        **_turing_rates(table, np.ones(len(table.images), bool)),
        "difference": difference(table.said, real, synthetic),
        "p_chance": chance_p(
            table.said,
            real,
            [(i.condition, i.fitzpatrick) for i in table.images],
            permutations,
            rng,
        ),
        "d_prime": d_prime(table.said, real, synthetic),
        "agreement": agreement(table.said, resamples, rng),
        "by_condition": [
            {"condition": name, **_turing_rates(table, table.where(condition=name))}
            for name in sorted({image.condition for image in table.images})
        ],
        "by_skin_type": [
            {
                "fitzpatrick": number,
                "name": SKIN_TYPE_NAMES[number],
                **_turing_rates(table, table.where(fitzpatrick=number)),
            }
            for number in sorted({image.fitzpatrick for image in table.images})
        ],
        "by_participant": [
            _one_reader(table, place, real, synthetic)
            for place in range(len(table.participants))
        ],
    }


def _turing_rates(table: Table, chosen: np.ndarray) -> dict[str, Any]:
    real, synthetic = table.where(kind="real"), table.where(kind="synthetic")
    return {
        "true_positive_rate": crossed.rate(table.said[:, chosen & real]),
        "false_positive_rate": crossed.rate(table.said[:, chosen & synthetic]),
    }


def difference(said: np.ndarray, first: np.ndarray, second: np.ndarray):
    """The rate over some images minus that over others, with interval.

    Args:
        said: float [P, I] of 0, 1, NaN.
        first, second: bool [I].
    """
    influence = np.full(said.shape, np.nan)
    value = 0.0
    for sign, chosen in ((1, first), (-1, second)):
        part = said[:, chosen]
        count = np.count_nonzero(~np.isnan(part))
        if not count:
            return {"value": None, "interval_95": None}
        mean = np.nanmean(part)
        value += sign * mean
        influence[:, chosen] = sign * (part - mean) / count
    return crossed.estimate(value, influence)


def chance_p(
    said: np.ndarray,
    real: np.ndarray,
    strata: Sequence[Any],
    permutations: int,
    rng: np.random.Generator,
) -> float | None:
    """Two-sided p of "answers have nothing to do with what is real".

    The labels real and synthetic are exchanged between images of the same condition and
    skin type, which leaves readers, and how alike their answers to an image are, as
    they were; so the test is exact whatever these are (Edgington and Onghena 2007).
    The statistic is the true less the false positive rate.

    Args:
        said: float [P, I] of 0, 1, NaN.
        real: bool [I].
        strata: [I]; labels are exchanged within equal ones.
        permutations: int.
        rng: draws.

    Returns:
        p, at least 1 / (permutations + 1); None when no labels can be exchanged.
    """
    hits = np.nansum(said, axis=0)
    counts = np.count_nonzero(~np.isnan(said), axis=0)
    _, groups = np.unique([repr(s) for s in strata], return_inverse=True)
    exchanged = [
        np.flatnonzero(groups == group)
        for group in np.unique(groups)
        if 0 < real[groups == group].mean() < 1
    ]
    if not exchanged or not counts.any():
        return None

    def statistic(labels: np.ndarray) -> np.ndarray:  # [n, I] -> [n]
        rates = [
            (chosen @ hits) / np.maximum(chosen @ counts, 1)
            for chosen in (labels, ~labels)
        ]
        return rates[0] - rates[1]

    observed = abs(statistic(real[None])[0])
    extreme = 0
    for start in range(0, permutations, 1000):
        number = min(1000, permutations - start)
        labels = np.tile(real, (number, 1))
        for places in exchanged:
            order = rng.random((number, len(places))).argsort(axis=1)
            labels[:, places] = real[places][order]
        extreme += np.count_nonzero(abs(statistic(labels)) >= observed - 1e-12)
    return (1 + extreme) / (1 + permutations)


def d_prime(said: np.ndarray, real: np.ndarray, synthetic: np.ndarray):
    """Sensitivity d′ = z(TPR) − z(FPR), mean over participants, with interval.

    Each participant's rates have the log-linear correction (Hautus 1995: a half added
    to the hits, one to the images), so that none is 0 or 1.

    Args:
        said: float [P, I] of 0, 1, NaN.
        real, synthetic: bool [I].

    Returns:
        dict of value, interval_95, by_participant (list; None where one kind lacks).
    """
    single = [
        _corrected(row[real]) - _corrected(row[synthetic]) for row in said
    ]  # NaN where a participant has answered nothing of a kind
    whole = ~np.isnan(single)
    shown = [None if np.isnan(value) else float(value) for value in single]
    if not whole.any():
        return {"value": None, "interval_95": None, "by_participant": shown}
    values, said = np.array(single)[whole], said[whole]
    influence = np.full(said.shape, np.nan)
    for sign, chosen in ((1, real), (-1, synthetic)):
        part = said[:, chosen]
        count = np.count_nonzero(~np.isnan(part), axis=1)[:, None]
        hits = np.nansum(part, axis=1)[:, None]
        density = stats.norm.pdf(stats.norm.ppf((hits + 0.5) / (count + 1)))
        moved = (part - hits / count) / (count + 1) / density
        influence[:, chosen] = sign * moved / len(values)
    # By participant: how they differ, which their influence values do not hold.
    rows = (values - values.mean()) / len(values)
    columns = np.nansum(influence, axis=0)[~np.isnan(influence).all(axis=0)]
    cells = influence[~np.isnan(influence)]
    spread, freedom = crossed.combined(rows, columns, cells)
    found = crossed.interval_of(values.mean(), spread, freedom)
    return {**found, "by_participant": shown}


def _corrected(answers: np.ndarray) -> float:
    """z of a rate with the log-linear correction; NaN without answers."""
    answers = answers[~np.isnan(answers)]
    if not len(answers):
        return np.nan
    return float(stats.norm.ppf((answers.sum() + 0.5) / (len(answers) + 1)))


def agreement(said: np.ndarray, resamples: int, rng) -> dict[str, Any]:
    """Fleiss' κ of those who have answered everything, by statsmodels.

    Args:
        said: float [P, I] of 0, 1, NaN.
        resamples: int. Of images, for the percentile interval.
        rng: draws.

    Returns:
        dict of kappa, interval_95, participants, images; kappa None where it is
        undefined (fewer than two such participants, or all answers alike).
    """
    whole = said[~np.isnan(said).any(axis=1)]
    found = {"participants": len(whole), "images": whole.shape[1]}
    if len(whole) < 2:
        return {"kappa": None, "interval_95": None, **found}
    table, _ = aggregate_raters(whole.T.astype(int), n_cat=2)
    drawn = rng.integers(len(table), size=(resamples, len(table)))
    with warnings.catch_warnings():  # all answers alike: 0 / 0
        warnings.simplefilter("ignore", RuntimeWarning)
        kappa = float(fleiss_kappa(table))
        samples = [fleiss_kappa(table[places]) for places in drawn]
    if not np.isfinite(kappa):
        return {"kappa": None, "interval_95": None, **found}
    interval = percentile_interval(samples)
    return {"kappa": kappa, "interval_95": interval, **found}


def _one_reader(table: Table, place: int, real, synthetic) -> dict[str, Any]:
    row = table.said[place]
    z = [_corrected(row[chosen]) for chosen in (real, synthetic)]
    both = not np.isnan(z).any()
    return {
        "participant": table.participants[place],
        "answers": int(np.count_nonzero(~np.isnan(row))),
        "true_positive_rate": _mean(row[real]),
        "false_positive_rate": _mean(row[synthetic]),
        "d_prime": z[0] - z[1] if both else None,
        # Above 0: says "synthetic" more often (Macmillan and Creelman 2005).
        "criterion": -(z[0] + z[1]) / 2 if both else None,
    }


def _recognition(table: Table, resamples: int, rng) -> dict[str, Any]:
    everything = np.ones(len(table.images), bool)
    shown = {k: table.target & table.where(kind=k) for k in ("real", "synthetic")}
    return {
        **_recognition_rates(table, everything),
        "difference": difference(table.said, shown["real"], shown["synthetic"]),
        "agreement": agreement(table.said, resamples, rng),
        "by_condition": [
            {"condition": name, **_recognition_rates(table, table.asked == name)}
            for name in sorted(set(table.asked))
        ],
        "by_skin_type": [
            {
                "fitzpatrick": number,
                "name": SKIN_TYPE_NAMES[number],
                **_recognition_rates(table, table.where(fitzpatrick=number)),
            }
            for number in sorted({image.fitzpatrick for image in table.images})
        ],
    }


def _recognition_rates(table: Table, chosen: np.ndarray) -> dict[str, Any]:
    found = {}
    for kind in ("real", "synthetic"):
        of_kind = chosen & table.where(kind=kind)
        found[f"recall_{kind}"] = crossed.rate(table.said[:, of_kind & table.target])
        found[f"false_alarms_{kind}"] = crossed.rate(
            table.said[:, of_kind & ~table.target]
        )
    return found


def _seconds(times: np.ndarray) -> dict[str, Any]:
    """Median and quartiles of the time an answer took."""
    known = times[~np.isnan(times)] / 1000
    if not len(known):
        return {"median": None, "quartiles": None, "answers": 0}
    low, middle, high = (float(x) for x in np.percentile(known, [25, 50, 75]))
    return {"median": middle, "quartiles": [low, high], "answers": len(known)}


def _remarks(answers: Answers, found: dict[str, Any]) -> list[str]:
    remarks = []
    sources = found["study"]["sources"]
    if "phantom" in sources:
        remarks.append(
            f"{sources['phantom']} images that stand for real ones are drawn phantoms: "
            "what is said of them is not said of photographs"
        )
    started = [p for p in answers.people if p["answers"]]
    unfinished = [p for p in started if p["answers"] < p["expected"]]
    if unfinished:
        remarks.append(
            f"{len(unfinished)} of {len(started)} participants who began have not "
            "answered everything; what they answered counts, κ leaves them out"
        )
    for part, name in (("turing", "part 1"), ("recognition", "part 2")):
        count = len(answers.tables[part].participants)
        if count == 1:
            remarks.append(
                f"{name} was answered by one participant: its intervals say nothing of "
                "other people"
            )
        elif 1 < count < FEW_PARTICIPANTS:
            remarks.append(
                f"{name} was answered by {count} participants: intervals are wide, and "
                "rather too narrow where the participants differ much"
            )
    fast = sum(int(np.sum(times < FAST_MS)) for times in answers.times.values())
    if fast:
        remarks.append(f"{fast} answers took less than {FAST_MS / 1000} s")
    if answers.incredible:
        remarks.append(
            f"{answers.incredible} times that browsers told are longer than the "
            "server's clock allows, and are left out (the answers are not)"
        )
    remarks += _unmatched(answers.tables["turing"])
    return remarks


def _unmatched(table: Table) -> list[str]:
    cells = {
        kind: _counts(
            [(i.condition, i.fitzpatrick) for i in table.images if i.kind == kind]
        )
        for kind in ("real", "synthetic")
    }
    apart = sum(
        abs(cells["real"].get(cell, 0) - cells["synthetic"].get(cell, 0))
        for cell in {*cells["real"], *cells["synthetic"]}
    )
    if not apart:
        return []
    return [
        f"part 1: {apart} of {len(table.images)} images have no counterpart of the "
        "other kind with the same condition and skin type, which may tell what is real"
    ]


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _counts(values: Sequence[Any]) -> dict[Any, int]:
    return {value: list(values).count(value) for value in sorted(set(values))}
