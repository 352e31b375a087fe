"""Compares classifiers on one test set: comparison.json, report.html, figures.

Each arm is one way of training, given by the predictions of its training seeds; the
first is the baseline. Intervals resample cases and cover training seeds, too.

  compare_classifiers --output_dir=runs/report --arm=baseline=runs/b0,runs/b1 \
    --arm=augmented=runs/a0,runs/a1
"""

import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.comparison_flags import define_comparison_flags


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "arm",
        None,
        "NAME=PATH,PATH,…: an arm and its predictions files, one a training seed, or "
        "folders that train_classifier made (which stand for predictions/test.csv in "
        "them). Give it once an arm; the first is the baseline.",
        required=True,
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the report.", required=True
    )
    define_comparison_flags()
    flags.DEFINE_string(
        "train_counts",
        None,
        "JSON file of training photos by condition, which say what is rare. Default: "
        "the baseline's classifier.json where it has them, else test photos.",
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random draws.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args) -> None:
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.reports.comparison import summary_lines, write_comparison
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.studies.arms import (
        parse_arms,
        read_arms,
        read_train_counts,
        train_counts,
    )
    from dermgan_tf.studies.comparison import compare

    started = time.monotonic()
    paths = parse_arms(args.arm)
    inputs = [path for files in paths.values() for path in files]
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        arms = read_arms(paths)
        conditions = arms[0].predictions[0].conditions
        if args.train_counts:
            counts = read_train_counts(args.train_counts, conditions)
        else:
            counts = train_counts(arms, conditions)
        comparison = compare(
            arms,
            resamples=args.resamples,
            specificity=args.specificity,
            rarest=args.rarest,
            train_counts=counts,
            seed=args.seed,
            progress=program.progress,
        )
        write_comparison(folder, comparison)
        write_run_record(
            folder,
            "compare_classifiers",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=comparison["test_set"]["fingerprint"],
            durations={"total": time.monotonic() - started},
        )
    for line in summary_lines(comparison):
        print(line)
    print(f"report: {args.output_dir}/report.html")


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
