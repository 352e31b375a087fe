"""Simulates classifiers whose true scores are known, and compares them as users' are.

Counts how often the 95 % intervals of `dermgan_tf.studies.comparison` hold the true
score or difference, and how often it tells ways of training apart that are alike. Cases
have one to three photos with errors in common; training seeds differ in how good they
are. Prints tables in Markdown: percent of the simulations, with Wilson's 95 % interval.
"""

import collections
import dataclasses
import functools
import gc

import numpy as np
from absl import flags
from sklearn.metrics import f1_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from dermgan_tf.classifier.predictions import Predictions
from dermgan_tf.studies.arms import Arm
from dermgan_tf.studies.comparison import compare
from pipelines.shared import program

SCORES = ("top_1", "macro_f1", "macro_auc", "rarest_f1")
# Normal deviates of a photo's logits: by case; by case and arm; by photo and network.
OF_CASE, OF_ARM, OF_PHOTO = 1.0, 0.7, 1.0
LEVEL = 1.5  # by how much the true condition's logit is higher
EFFECTS = np.linspace(-3, 3.5, 27)  # added to LEVEL: truth is measured at these


@dataclasses.dataclass(frozen=True)
class Setting:
    """Two arms, the baseline first, on one test set."""

    name: str
    seeds: tuple[int, int]
    seed_effect: float = 0.0  # deviation, over seeds, of what is added to LEVEL
    gain: float = 0.0  # what the second arm adds to it
    shares: tuple[int, ...] = (60, 30, 20, 15, 12)  # of conditions, the rarest last


SETTINGS = (
    Setting("one seed", (1, 1)),
    Setting("one seed, seeds differ", (1, 1), 0.3),
    Setting("3 seeds", (3, 3)),
    Setting("2 seeds that differ", (2, 2), 0.3),
    Setting("5 seeds that differ much", (5, 5), 0.8),
    Setting("3 and 5 seeds that differ", (3, 5), 0.3),
    Setting("3 seeds that differ, one arm better", (3, 3), 0.3, gain=0.5),
    Setting("one seed, 2 of 6 conditions rare", (1, 1), shares=(5, 5, 5, 5, 1, 1)),
)


def define_flags():
    flags.DEFINE_integer("simulations", 200, "Of each setting.", lower_bound=1)
    flags.DEFINE_integer("resamples", 500, "Of each comparison.", lower_bound=1)
    flags.DEFINE_integer("cases", 110, "Of the test set.", lower_bound=10)
    flags.DEFINE_integer("seed", 0, "Of all that is drawn.", lower_bound=0)


def main(args):
    tallies = {setting: collections.defaultdict(list) for setting in SETTINGS}
    for place, setting in enumerate(SETTINGS):
        true_scores(setting.shares)
        gc.freeze()  # statsmodels' multipletests collects garbage: most of the time
        for number in program.progress(range(args.simulations), desc=setting.name):
            rng = np.random.default_rng([args.seed, place, number])
            found = simulate(setting, args.cases, args.resamples, rng)
            for column, happened in found.items():
                tallies[setting][column].append(happened)
    print(
        f"{args.simulations} simulations of each setting, {args.cases} cases, "
        f"{args.resamples} resamples.\n\n{render(tallies, args.cases)}"
    )


@functools.cache
def true_scores(shares):
    """Scores on all photos there could be: effects on LEVEL, [n] -> {score: [n]}.

    By scikit-learn, of a large sample in which each photo is its own case: which photos
    share one does not change what is expected.
    """
    counts = 60_000 * np.array(shares) // sum(shares)
    labels = np.repeat(np.arange(len(shares)), counts)
    spread = np.sqrt(OF_CASE**2 + OF_ARM**2 + OF_PHOTO**2)
    noise = np.random.default_rng(0).normal(0, spread, (len(labels), len(shares)))
    rows = []
    for effect in EFFECTS:
        given = probabilities(noise, labels, effect)
        said = given.argmax(axis=1)
        f1 = f1_score(labels, said, average=None)
        auc = roc_auc_score(labels, given, multi_class="ovr")
        rows.append((np.mean(said == labels), f1.mean(), auc, f1[-1]))
    columns = dict(zip(SCORES, zip(*rows, strict=True), strict=True))
    return lambda at: {name: np.interp(at, EFFECTS, x) for name, x in columns.items()}


def probabilities(noise, labels, effect):
    """A network's softmax over logits: [N, K]."""
    logits = noise.copy()
    logits[np.arange(len(labels)), labels] += LEVEL + effect
    exps = np.exp(logits)
    return exps / exps.sum(axis=1, keepdims=True)


def expected_scores(setting, effects, gain):
    """What an arm's intervals are meant to hold: {score: float}.

    With one seed that is the network's own score; with several the mean over all seeds
    there could be, a Gauss-Hermite sum.
    """
    truth = true_scores(setting.shares)
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    nodes = gain + setting.seed_effect * nodes
    if len(effects) == 1:
        nodes, weights = effects, np.ones(1)
    return {name: x @ weights / weights.sum() for name, x in truth(nodes).items()}


def simulate(setting, cases, resamples, rng):
    """One comparison: {(table, column): bool}; None without an interval or p."""
    arms, truths = draw_arms(setting, cases, rng)
    names = arms[0].predictions[0].conditions
    counts = dict(zip(names, setting.shares, strict=True))
    seed = int(rng.integers(2**31))  # its own: else all would share their luck
    report = compare(arms, resamples, rarest=1, train_counts=counts, seed=seed)
    apart = report["comparisons"][0]
    found = {}
    for name in SCORES:
        score, change = report["arms"][0]["scores"][name], apart["scores"][name]
        true_change = truths[1][name] - truths[0][name]
        found["score", name] = holds(score["interval_95"], truths[0][name])
        found["difference", name] = holds(change["interval_95"], true_change)
        found["p", name] = None if change["p"] is None else change["p"] < 0.05
    changes = apart["f1_changes"]
    significant = changes["significantly_better"] + changes["significantly_worse"]
    found["p", "any condition's F1, Holm"] = bool(significant)
    found["p", "t-test by photo"] = apart["t_test"]["by_photo"]["p"] < 0.05
    return found


def draw_arms(setting, cases, rng):
    """Two arms, and the true scores of each."""
    k = len(setting.shares)
    case = np.repeat(np.arange(cases), rng.integers(1, 4, cases))
    shares = np.array(setting.shares) / sum(setting.shares)
    labels = rng.choice(k, cases, p=shares)[case]
    ids, unknown = np.arange(len(case)).astype(str), np.zeros(len(case), np.int64)
    photos = functools.partial(Predictions, ids, case.astype(str), unknown, labels)
    names = tuple(f"condition {i}" for i in range(k))
    ease = OF_CASE * rng.normal(size=(cases, k))
    arms, truths = [], []
    for name, seeds, gain in zip("ab", setting.seeds, (0, setting.gain), strict=True):
        own = ease + OF_ARM * rng.normal(size=(cases, k))
        effects = gain + setting.seed_effect * rng.normal(size=seeds)
        files = []
        for effect in effects:
            noise = own[case] + OF_PHOTO * rng.normal(size=(len(case), k))
            files.append(photos(probabilities(noise, labels, effect), names))
        arms.append(Arm(name, tuple(files)))
        truths.append(expected_scores(setting, effects, gain))
    return arms, truths


def holds(interval, truth):
    return None if interval is None else bool(interval[0] <= truth <= interval[1])


def render(tallies, cases):
    """Three tables: intervals of scores, of differences, and false alarms."""
    lines = []
    for table, title in (
        ("score", "the baseline's 95 % intervals that hold the true score, %"),
        ("difference", "the difference's 95 % intervals that hold the true one, %"),
        ("p", "p < 0.05 of arms that are trained alike, %"),
    ):
        shown = [s for s in tallies if table != "p" or not s.gain]
        columns = [column for of, column in tallies[shown[0]] if of == table]
        lines += ["", f"| {title} | cases of the rarest | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 2) + "|")
        for s in shown:
            cells = [s.name, f"{cases * s.shares[-1] / sum(s.shares):.1f}"]
            cells += [percent(tallies[s][table, column]) for column in columns]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def percent(happened):
    """As "94.5 (90.4–96.9)"; and of how many, where some are undefined."""
    known = [one for one in happened if one is not None]
    low, high = proportion_confint(sum(known), len(known), method="wilson")
    text = f"{100 * np.mean(known):.1f} ({100 * low:.1f}–{100 * high:.1f})"
    return text if len(known) == len(happened) else f"{text} of {len(known)}"


if __name__ == "__main__":
    program.run(define_flags, main)
