"""Simulates reader studies whose true rates are known, and counts how intervals do.

A participant says "real" when a normal deviate is above 0: the mean of the kind of
image, plus the participant's, plus the image's, plus the answer's own (of deviation 1).
So the true rates, over all participants and images there could be, are known, and so is
d′. Prints a table in Markdown: percent of the simulations in which the 95 % interval
held the truth, and in which the test against chance had p < 0.05.
"""

import collections
import dataclasses

import numpy as np
from absl import flags
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from dermgan_tf.apps.reader_study import crossed
from dermgan_tf.apps.reader_study.analysis import chance_p, d_prime, difference
from pipelines.shared import program


@dataclasses.dataclass(frozen=True)
class Setting:
    """Deviations of participants and images; means of the two kinds of image."""

    name: str
    participants: int
    real: int
    synthetic: int
    of_participant: float
    of_image: float
    mean_real: float
    mean_synthetic: float
    missing: float = 0.0  # share of answers that were not given


SETTINGS = (
    Setting(
        "the paper's: 10 people, TPR 0.52, FPR 0.30", 10, 80, 80, 0.4, 0.6, 0.06, -0.64
    ),
    Setting("10 people who cannot tell", 10, 80, 80, 0.4, 0.6, 0.0, 0.0),
    Setting("10 people who differ much", 10, 80, 80, 0.8, 0.8, 0.5, -0.5),
    Setting("10 people, 10 images of a condition", 10, 10, 10, 0.4, 0.6, 0.3, -0.3),
    Setting("10 people, near the edges", 10, 80, 80, 0.4, 0.6, 2.0, -2.0),
    Setting("10 people, a fifth not answered", 10, 80, 80, 0.4, 0.6, 0.3, -0.3, 0.2),
    Setting("30 people", 30, 80, 80, 0.4, 0.6, 0.3, -0.3),
    Setting("5 people", 5, 80, 80, 0.4, 0.6, 0.3, -0.3),
    Setting("2 people", 2, 32, 32, 0.4, 0.6, 0.3, -0.3),
    Setting("2 people who differ much", 2, 80, 80, 0.8, 0.8, 0.3, -0.3),
)


def define_flags():
    flags.DEFINE_integer("simulations", 1000, "Of each setting.", lower_bound=1)
    flags.DEFINE_integer("permutations", 199, "Of each test.", lower_bound=19)
    flags.DEFINE_integer("seed", 0, "Of all that is drawn.", lower_bound=0)


def main(args):
    rows = []
    for place, setting in enumerate(SETTINGS):
        tally = collections.defaultdict(list)
        for number in program.progress(range(args.simulations), desc=setting.name):
            rng = np.random.default_rng([args.seed, place, number])
            for name, (interval, truth) in simulate(setting, rng).items():
                tally[name].append(holds(interval, truth))
            tally["p < 0.05"].append(small_p(setting, args.permutations, rng))
        rows.append((setting.name, tally))
    names = list(rows[0][1])
    print(f"{args.simulations} simulations of each setting.\n")
    print(f"| participants and images | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for name, tally in rows:
        print(f"| {name} | {' | '.join(percent(tally[n]) for n in names)} |")


def simulate(setting, rng):
    """One study: {number: (interval, truth)}."""
    said, real, _ = table_of(setting, rng)
    s, (of_p, of_i) = setting, (setting.of_participant, setting.of_image)
    whole = np.sqrt(1 + of_p**2 + of_i**2)
    rates = [stats.norm.cdf(mean / whole) for mean in (s.mean_real, s.mean_synthetic)]
    # Of one participant: over images only.
    prime = (s.mean_real - s.mean_synthetic) / np.sqrt(1 + of_i**2)
    return {
        "TPR": (crossed.rate(said[:, real])["interval_95"], rates[0]),
        "FPR": (crossed.rate(said[:, ~real])["interval_95"], rates[1]),
        "TPR − FPR": (
            difference(said, real, ~real)["interval_95"],
            rates[0] - rates[1],
        ),
        "d′": (d_prime(said, real, ~real)["interval_95"], prime),
    }


def small_p(setting, permutations, rng):
    said, real, strata = table_of(setting, rng)
    return chance_p(said, real, strata, permutations, rng) < 0.05


def table_of(setting, rng):
    """Answers [P, I], which images are real [I], and a stratum of each [I]."""
    count = setting.real + setting.synthetic
    real = np.arange(count) < setting.real
    means = np.where(real, setting.mean_real, setting.mean_synthetic)
    deviate = (
        means
        + setting.of_participant * rng.normal(size=(setting.participants, 1))
        + setting.of_image * rng.normal(size=(1, count))
        + rng.normal(size=(setting.participants, count))
    )
    said = (deviate > 0) * 1.0
    said[rng.random(said.shape) < setting.missing] = np.nan
    return said, real, np.arange(count) % 5


def holds(interval, truth):
    return bool(interval[0] <= truth <= interval[1])


def percent(happened):
    """As "94.5 (93.0–95.8)", with Wilson's interval."""
    low, high = proportion_confint(sum(happened), len(happened), method="wilson")
    return f"{100 * np.mean(happened):.1f} ({100 * low:.1f}–{100 * high:.1f})"


if __name__ == "__main__":
    program.run(define_flags, main)
