"""Flags of the programs that compare classifiers: how it is judged."""

from absl import flags


def define_comparison_flags() -> None:
    flags.DEFINE_integer(
        "resamples",
        2000,
        "Bootstrap samples of the test cases, and random swaps of each permutation "
        "test.",
        lower_bound=100,
    )
    flags.DEFINE_float(
        "specificity",
        0.9,
        "Specificity, 0 to 1, at which one-vs-rest sensitivity is read off.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_integer(
        "rarest", 8, "Rare conditions whose mean F1 is compared.", lower_bound=1
    )
