"""Measures the Fréchet distance against TF-GAN's and SciPy's, and a run of trials.

The single distances take turns, as in benchmarks/run.py, each in a process of its own;
the trials then run once. Prints a table in Markdown.
"""

import functools
import time

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_integer("samples", 10000, "Of either set.", lower_bound=2)
    flags.DEFINE_integer("features", 2048, "Of a sample.", lower_bound=1)
    flags.DEFINE_integer("trials", 50, "Of the run of trials.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Slices of each contender.", lower_bound=1)
    flags.DEFINE_float("slice_seconds", 3.0, "Length of a slice.", lower_bound=0)


def main(args):
    from benchmarks import contenders, interleave, page

    shape = (args.samples, args.features)
    measured = interleave.measure(
        {
            "ours": functools.partial(contenders.frechet_ours, shape),
            "tfgan": functools.partial(contenders.frechet_tfgan, shape),
            "scipy": functools.partial(frechet_scipy, shape),
        },
        args.rounds,
        args.slice_seconds,
        program.progress,
    )
    seconds, sample = time_trials(args.samples, args.features, args.trials)
    print(render(measured, args.samples, args.features))
    print(
        f"\n{args.trials} trials of {sample} × {sample} samples, drawn from "
        f"{2 * sample} × {2 * sample}: {seconds:.1f} s."
    )
    group = {"task": "frechet", "case": {}, "unit": "distances/s"}
    summary = page.summarize({**group, "contenders": measured})
    if "Disturbed" in summary:
        print(f"\n{summary.splitlines()[-1].strip()}")


def frechet_scipy(shape: tuple[int, int], stopwatch) -> None:
    """The definition as it stands: two covariances and a matrix' root."""
    import numpy as np
    import scipy.linalg

    from benchmarks.contenders import _activations

    a, b = (x.astype(np.float64) for x in _activations(shape))
    while True:
        sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = scipy.linalg.sqrtm(sigma_a @ sigma_b)
        difference = a.mean(axis=0) - b.mean(axis=0)
        distance = difference @ difference
        distance += np.trace(sigma_a) + np.trace(sigma_b) - 2 * np.trace(root).real
        stopwatch.note(distance=float(distance))
        stopwatch.step_done(1)


def time_trials(samples: int, features: int, trials: int) -> tuple[float, int]:
    """Seconds that `frechet_trials` takes, and the size of its samples."""
    from benchmarks.contenders import _activations
    from dermgan_tf.metrics import frechet_trials

    a, b = _activations((2 * samples, features))
    start = time.perf_counter()
    found = frechet_trials(a, b, trials=trials, progress=program.progress)
    return time.perf_counter() - start, found["sample_size"]


def render(measured: dict, samples: int, features: int) -> str:
    """A row a contender: seconds, times as long as ours, difference of the value."""
    from benchmarks.page import LABELS
    from benchmarks.targets import ratio, spread

    def shown(value, digits):
        median, low, high = (
            f"{x:.{digits}f}" for x in (value.median, value.low, value.high)
        )
        return f"{median} ({low}–{high})"

    ours = measured["ours"]
    lines = [
        f"| {samples} × {samples} × {features} | seconds | dermgan_tf ÷ … in speed | "
        "relative difference of the distance |",
        "| --- | --- | --- | --- |",
    ]
    for name, result in measured.items():
        cells = [
            LABELS.get(name, "SciPy's sqrtm"),
            shown(spread([1 / rate for rate in result["values"]]), 2),
            shown(ratio(ours["values"], result["values"]), 2),
            f"{abs(result['distance'] / ours['distance'] - 1):.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    program.run(define_flags, main)
