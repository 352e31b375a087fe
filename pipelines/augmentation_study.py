"""Do synthetic images help a classifier, and how many? Trains all arms and seeds.

Every arm takes the same number of steps on the same photographs, and is paired with the
baseline. After a kill the same command goes on where it was; more seeds or arms may be
asked for later. OUTPUT_DIR gets metrics.json, table.csv, report.html, figures,
comparison/ and runs/ARM/seed-K/.

  augmentation_study --annotations=photos.jsonl --synthetic_dir=painted \
    --gan_data_dir=pairs --output_dir=runs/study
"""

import os
import pathlib
import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.classifier_flags import (
    copies_embedding,
    define_copy_flags,
    define_network_flags,
    define_running_flags,
    define_schedule_flags,
    define_source_flags,
    read_photographs,
    read_splits,
    read_synthetic_of,
    training_arguments,
)
from pipelines.shared.comparison_flags import define_comparison_flags
from pipelines.shared.study_flags import announce


def define_flags() -> None:
    define_source_flags()
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the study. Where it holds one already, that goes on.",
        required=True,
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the study that output_dir holds and start anew."
    )
    # Arms.
    flags.DEFINE_string(
        "synthetic_dir",
        None,
        "Folder of synthetic images, as from generate; reports call it synthetic.",
    )
    flags.DEFINE_multi_string(
        "synthetic",
        [],
        "NAME=DIR: such a folder with a name. May be given several times: each is a "
        "curve.",
    )
    flags.DEFINE_list(
        "gan_data_dir",
        [],
        "Folders of the pairs that the generators were trained on. Their training "
        "cases must be training cases here. Default: --data_dir, where the generators "
        "were trained on that; else they must be named.",
    )
    flags.DEFINE_list(
        "ratios",
        ["0", "0.5", "1", "2", "5", "10"],
        "Synthetic images for every real training photo: an arm each. 0 is the "
        "baseline, which is trained in any case.",
    )
    flags.DEFINE_bool(
        "no_augmentation_arm",
        False,
        "Train an arm without classic augmentation (--augment=none), too.",
    )
    flags.DEFINE_string(
        "more_real",
        None,
        "The ceiling: annotations.jsonl, or folder of photos or pairs, whose training "
        "split is added to the training photos in an arm of its own. None of its cases "
        "may be one of validation or test.",
    )
    flags.DEFINE_list(
        "train_cases",
        [],
        "Numbers of training cases, such as 10,50,all: train on so few, with and "
        "without synthetic images. The seed draws them, of each condition its share; "
        "the 10 are among the 50.",
    )
    flags.DEFINE_float(
        "train_cases_ratio",
        None,
        "Synthetic images for every real photo in the arms of --train_cases, as far as "
        "there are. Default: the largest of --ratios.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "seeds", 5, "Runs of each arm, with the seeds 0, 1, …", lower_bound=1
    )
    define_copy_flags()
    define_network_flags()
    define_schedule_flags()
    define_running_flags()
    define_comparison_flags()
    flags.DEFINE_bool(
        "keep_checkpoints",
        False,
        "Keep the checkpoints of finished runs; the classifiers stay in any case.",
    )


def main(args) -> None:
    ratios = numbers(args.ratios, float, "ratios")
    train_cases = numbers(args.train_cases, int, "train_cases", every="all")
    folders = synthetic_folders(args)
    program.load_tensorflow()
    from dermgan_tf.errors import write_rejects
    from dermgan_tf.reports.augmentation import summary_lines
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.studies.augmentation import run_augmentation_study
    from dermgan_tf.studies.augmentation_arms import SyntheticSet

    started = time.monotonic()
    splits, rejects = read_photographs(args)
    synthetic = [
        SyntheticSet(name, *read_synthetic_of(path, args, splits, args.gan_data_dir))
        for name, path in folders.items()
    ]
    more_real = None
    if args.more_real:
        more_real, more_rejects = read_more_real(args, splits["train"].conditions)
        rejects = [*rejects, *more_rejects]
    metrics = run_augmentation_study(
        splits,
        args.output_dir,
        training_arguments(args),
        synthetic=synthetic,
        ratios=ratios,
        seeds=args.seeds,
        no_augmentation_arm=args.no_augmentation_arm,
        more_real=more_real,
        train_cases=train_cases,
        train_cases_ratio=args.train_cases_ratio,
        embedding=copies_embedding(args),
        allow_copies=args.allow_copies,
        resamples=args.resamples,
        specificity=args.specificity,
        rarest=args.rarest,
        keep_checkpoints=args.keep_checkpoints,
        overwrite=args.overwrite,
        cache_dir=args.cache_dir,
        stop_requested=program.StopRequest().requested,
        announce=announce,
        progress=program.progress,
    )
    write_run_record(
        args.output_dir,
        "augmentation_study",
        program.flag_values(args),
        data_fingerprint=metrics["data"]["test"]["fingerprint"],
        durations={"total": time.monotonic() - started},
    )
    write_rejects(os.path.join(args.output_dir, "rejects.csv"), rejects)
    for line in summary_lines(metrics):
        print(line)
    print(f"report: {args.output_dir}/report.html")


def numbers(texts, kind, flag, every=None):
    """Numbers from a list of texts; None stands for the word `every`."""
    from dermgan_tf.errors import InputError

    found = []
    for text in map(str.strip, texts):
        try:
            found.append(None if every and text == every else kind(text))
        except ValueError:
            raise InputError(f"--{flag}: {text!r} is no number") from None
    return found


def synthetic_folders(args):
    """The folders by name."""
    from dermgan_tf.errors import InputError

    folders = {"synthetic": args.synthetic_dir} if args.synthetic_dir else {}
    for text in args.synthetic:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f"--synthetic={text!r} is not NAME=DIR")
        if name in folders:
            raise InputError(f"--synthetic: {name!r} comes twice")
        folders[name] = path
    return folders


def read_more_real(args, conditions):
    """(the training split of --more_real, what was left out)"""
    import dataclasses

    import numpy as np

    from dermgan_tf.classifier.labelled_sources import open_source
    from dermgan_tf.pairs import pairs, patches

    folder = pathlib.Path(args.more_real)
    infos = [folder / kind.INFO_FILE for kind in (pairs, patches)]
    in_classes = folder.is_dir() and not any(path.exists() for path in infos)
    pattern = args.case_pattern if in_classes else ""
    known = set(open_source(args.more_real, pattern).conditions)
    # It need not have photos of all conditions.
    own = [name for name in conditions if name in known]
    splits, rejects = read_splits(args.more_real, args, own, pattern)
    train = splits["train"]
    labels = np.array([conditions.index(name) for name in train.conditions])
    return (
        dataclasses.replace(
            train, labels=labels[train.labels], conditions=tuple(conditions)
        ),
        rejects,
    )


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
