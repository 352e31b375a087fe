"""Trains a skin-condition classifier, with or without synthetic images.

After a kill the same command goes on where it was.
"""

import json
import os
import pathlib

from absl import flags, logging

from pipelines.shared import program
from pipelines.shared.classifier_flags import (
    copies_embedding,
    define_copy_flags,
    define_network_flags,
    define_running_flags,
    define_schedule_flags,
    define_source_flags,
    read_photographs,
    read_synthetic_of,
    training_arguments,
)
from pipelines.shared.device_flags import define_strategy_flags


def define_flags():
    define_source_flags()
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the run: checkpoints, logs, predictions, the classifier. Where it "
        "holds a run already, that run goes on.",
        required=True,
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the run that output_dir holds and start anew."
    )
    # Synthetic images.
    flags.DEFINE_string(
        "synthetic_dir", None, "Folder of synthetic images, as from generate."
    )
    flags.DEFINE_float(
        "synthetic_ratio",
        None,
        "Use at most so many synthetic images for every real training image. Default: "
        "all there are.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "gan_data_dir",
        None,
        "With --synthetic_dir: folder of the pairs that the generator was trained on. "
        "Its training cases must be training cases here. Default: --data_dir, where "
        "the generator was trained on that; else one must be named.",
    )
    flags.DEFINE_bool(
        "allow_unchecked_generator",
        False,
        "Train on synthetic images of a generator whose training cases are not known. "
        "compare_classifiers will not take such predictions.",
    )
    define_copy_flags()
    define_network_flags()
    define_schedule_flags()
    define_running_flags()
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of initial weights, order, augmentation and dropout.",
        lower_bound=0,
    )
    define_strategy_flags()


def main(args):
    program.load_tensorflow()
    from dermgan_tf.classifier.splits import absent_conditions
    from dermgan_tf.classifier.task import train_classifier
    from dermgan_tf.errors import InputError, write_rejects
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.training.strategies import make_strategy
    from dermgan_tf.training.workers import is_chief

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    splits, rejects = read_photographs(args)
    synthetic, generator, generator_cases = read_synthetic_images(args, splits)
    absent = absent_conditions(splits)
    for line in told_absent(absent):
        logging.warning("%s", line)
    stop = program.StopRequest()
    result = train_classifier(
        splits,
        args.output_dir,
        synthetic=synthetic,
        **training_arguments(args),
        synthetic_ratio=args.synthetic_ratio,
        seed=args.seed,
        strategy=strategy,
        generator=generator,
        generator_cases=generator_cases,
        copies=copies_found(args, splits, synthetic),
        overwrite=args.overwrite,
        stop_requested=stop.requested,
        progress=program.progress,
    )
    if is_chief(strategy):
        write_run_record(
            args.output_dir,
            "train_classifier",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=result.data_fingerprint,
            durations=result.seconds,
        )
        write_rejects(os.path.join(args.output_dir, "rejects.csv"), rejects)
        print_summary(result, len(rejects), absent)
    if result.step < result.steps:
        raise InputError(
            f"stopped by {stop.signal_name or 'another worker'} after step "
            f"{result.step} of {result.steps}, which is saved; the same command "
            f"resumes there"
        )


def read_synthetic_images(args, splits):
    """(images, generator's fingerprint, cases it was trained on); None: not known."""
    from dermgan_tf.errors import InputError

    if not args.synthetic_dir:
        for name in (
            "synthetic_ratio",
            "real_share",
            "synthetic_until",
            "gan_data_dir",
        ):
            if getattr(args, name) is not None:
                raise InputError(f"--{name} needs --synthetic_dir")
        return None, None, None
    return read_synthetic_of(
        args.synthetic_dir,
        args,
        splits,
        [args.gan_data_dir] if args.gan_data_dir else [],
        args.allow_unchecked_generator,
    )


def copies_found(args, splits, synthetic):
    """What `train_classifier` records; an earlier start of the run may know it."""
    from dermgan_tf.classifier.leakage import look_for_copies
    from dermgan_tf.classifier.predictions import CLASSIFIER_FILE

    embedding = copies_embedding(args)
    if embedding is None or "validation" not in splits:  # which is refused elsewhere
        return None
    try:
        file = pathlib.Path(args.output_dir) / CLASSIFIER_FILE
        known = json.loads(file.read_text("utf-8")).get("copies")
    except (OSError, ValueError):
        known = None
    return look_for_copies(
        splits,
        embedding,
        {} if synthetic is None else {args.synthetic_dir: synthetic},
        allow_copies=args.allow_copies,
        known=known,
        cache_dir=args.cache_dir,
        progress=program.progress,
    )


def told_absent(absent):
    """A line for each split that lacks photos of some conditions."""
    what = {
        "train": ("training", "it can hardly be recognised"),
        "validation": ("validation", "it does not count in choosing the checkpoint"),
        "test": ("test", "it is not measured"),
    }
    return [
        f"no {what[split][0]} photo of {name}: {what[split][1]}"
        for split, names in absent.items()
        for name in names
    ]


def print_summary(result, rejected, absent):
    began = f" (resumed at step {result.first_step})" if result.first_step else ""
    used = ", ".join(f"{count} {name}" for name, count in result.images.items())
    print(f"{'images':<24}{used}")
    if rejected:
        print(f"{'photos left out':<24}{rejected}, see rejects.csv")
    for line in told_absent(absent):
        print(f"{'absent conditions':<24}{line}")
    print(f"{'steps':<24}{result.step} of {result.steps}{began}")
    for name, value in result.losses.items():
        print(f"{'training ' + name:<24}{value:.4f}")
    if result.best_step is not None:
        print(f"{'best checkpoint':<24}of step {result.best_step}, by macro-F1")
        for name, value in result.validation.items():
            if name != "step":
                print(f"{'validation ' + name:<24}{value:.4f}")
    print(f"{'images/s':<24}{result.images_per_second:.2f}")
    print(f"{'training time':<24}{result.seconds['training']:.0f} s")
    if result.temperature is not None:
        print(f"{'temperature':<24}{result.temperature:.3f}")
        files = "classifier.keras, saved_model, predictions/"
        print(f"{'written':<24}{result.output_dir}: {files}")
    print(f"{'watch':<24}tensorboard --logdir={result.output_dir / 'tensorboard'}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
