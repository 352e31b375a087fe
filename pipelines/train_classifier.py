"""Trains a skin-condition classifier, with or without synthetic images.

After a kill the same command goes on where it was.
"""

from absl import flags, logging

from pipelines import program
from pipelines.train_gan import StopRequest

SOURCES = ("annotations", "image_dir", "data_dir", "tfds")


def define_flags():
    # Photographs.
    flags.DEFINE_string("annotations", None, "annotations.jsonl of whole photos.")
    flags.DEFINE_string(
        "image_dir",
        None,
        "Folder of photos: SPLIT/CONDITION/photo or CONDITION/photo.",
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of pairs, as from prepare_pairs: trains on crops."
    )
    flags.DEFINE_string(
        "tfds", None, "Prepared data set of TensorFlow Datasets: its name or folder."
    )
    flags.register_multi_flags_validator(
        SOURCES,
        lambda values: sum(map(bool, values.values())) == 1,
        "give one of --annotations, --image_dir, --data_dir and --tfds",
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the run: checkpoints, logs, predictions, the classifier. Where it "
        "holds a run already, that run goes on.",
        required=True,
    )
    flags.DEFINE_list(
        "conditions",
        None,
        "The vocabulary: 2 to 60 condition names, comma-separated. Photos of others "
        "are left out. Default: all that occur, in alphabetical order.",
    )
    flags.DEFINE_string(
        "case_pattern",
        "",
        "For --image_dir: regular expression that finds the case in a file's name. "
        "Default: every photo is a case.",
    )
    flags.DEFINE_string(
        "cache_dir",
        None,
        "Existing folder for resized photos while the program runs, 3 × image_size² "
        "bytes a photo. Default: the system's temporary folder.",
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
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
    flags.DEFINE_float(
        "real_share",
        None,
        "Share of every batch that is real, 0 to 1. Default: real and synthetic images "
        "are pooled.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_string(
        "gan_data_dir",
        None,
        "With --synthetic_dir: folder of the pairs that the generator was trained on. "
        "Its training cases must be training cases here. Default: --data_dir, where "
        "that is given.",
    )
    # Network.
    flags.DEFINE_enum(
        "architecture",
        "mobilenet_v2",
        ["mobilenet_v2", "small_conv"],
        "The network; small_conv is for small crops and quick trials.",
    )
    flags.DEFINE_float("alpha", 1.0, "Width of MobileNetV2.", lower_bound=0.01)
    flags.DEFINE_string(
        "weights",
        None,
        "Where MobileNetV2 starts: imagenet, a weights file of it without its top, or "
        "none. Default: imagenet; none for small_conv.",
    )
    flags.DEFINE_integer(
        "image_size", 224, "Side of the images in pixels.", lower_bound=32
    )
    # Schedule.
    flags.DEFINE_integer("steps", None, "Weight updates.", lower_bound=1)
    flags.DEFINE_float(
        "epochs",
        None,
        "The length as passes over the real training images; the steps are as many "
        "with synthetic images as without. Default, without --steps: 20.",
        lower_bound=0,
    )
    flags.register_multi_flags_validator(
        ["steps", "epochs"],
        lambda values: values["steps"] is None or values["epochs"] is None,
        "give --steps or --epochs, not both",
    )
    flags.DEFINE_integer(
        "batch_size", 32, "Images per step, over all devices together.", lower_bound=1
    )
    flags.DEFINE_integer(
        "frozen_steps",
        None,
        "Steps at the start in which the head alone learns. Default: a fifth of all "
        "with pretrained weights, else 0.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "head_learning_rate",
        1e-3,
        "Adam's learning rate while the head learns alone.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "learning_rate",
        1e-4,
        "Adam's learning rate at the start of the rest, over which it falls to 0 along "
        "half a cosine; about 1e-3 without pretrained weights.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "augment",
        "full",
        ["full", "flips", "none"],
        "How training images are changed: flips, brightness, contrast, saturation, a "
        "little hue and a random window; flips alone; or not.",
    )
    flags.DEFINE_enum(
        "imbalance",
        "none",
        ["none", "class_weights", "balanced_sampling"],
        "What makes rare conditions count: weights of the loss, or drawing all "
        "conditions equally often.",
    )
    # Reproducibility and speed.
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of initial weights, order, augmentation and dropout.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Use reproducible operations only, slower on GPUs: a run killed and continued "
        "ends with the very weights of an uninterrupted one.",
    )
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
        "Where to train: one device, all GPUs of this machine (mirrored), the machines "
        "that TF_CONFIG lists (multi_worker), or a TPU. auto takes what there is.",
    )
    flags.DEFINE_string("tpu", None, "Name or address of the TPU; local on a TPU VM.")
    flags.DEFINE_float(
        "wait_for_workers",
        600,
        "Seconds to wait for the other machines of TF_CONFIG to come up.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "mixed_precision",
        "none",
        ["none", "bfloat16", "float16"],
        "Number format of the computations in training; weights stay float32, and what "
        "is exported computes in float32.",
    )
    # What is written, and when.
    flags.DEFINE_integer(
        "validate_every",
        None,
        "Steps between validations, each of which saves a checkpoint. Default: a "
        "twentieth of all.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "log_every",
        20,
        "Steps between logged losses, which are means over these steps.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the run that output_dir holds and start anew."
    )


def main(args):
    program.load_tensorflow()
    from dermgan_tf.classifier_training import train_classifier
    from dermgan_tf.errors import InputError
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.strategies import make_strategy
    from dermgan_tf.workers import is_chief

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    splits, rejects = read_photographs(args)
    synthetic, generator, generator_cases = read_synthetic_images(args, splits)
    stop = StopRequest()
    result = train_classifier(
        splits,
        args.output_dir,
        synthetic=synthetic,
        steps=args.steps,
        epochs=args.epochs,
        batch_size=args.batch_size,
        architecture=args.architecture,
        alpha=args.alpha,
        weights=weights(args),
        frozen_steps=args.frozen_steps,
        head_learning_rate=args.head_learning_rate,
        learning_rate=args.learning_rate,
        augment=args.augment,
        imbalance=args.imbalance,
        synthetic_ratio=args.synthetic_ratio,
        real_share=args.real_share,
        seed=args.seed,
        deterministic=args.deterministic,
        mixed_precision=args.mixed_precision,
        strategy=strategy,
        validate_every=args.validate_every,
        log_every=args.log_every,
        generator=generator,
        generator_cases=generator_cases,
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
            left_out=[f"{reject.item}: {reject.reason}" for reject in rejects],
        )
        print_summary(result, len(rejects))
    if result.step < result.steps:
        raise InputError(
            f"stopped by {stop.signal_name or 'another worker'} after step "
            f"{result.step} of {result.steps}, which is saved; the same command goes "
            f"on from there"
        )


def weights(args):
    """What `train_classifier` takes: a name, a path or None."""
    if args.weights is None:
        return "imagenet" if args.architecture == "mobilenet_v2" else None
    return None if args.weights == "none" else args.weights


def read_photographs(args):
    from dermgan_tf.labelled_images import read_labelled_splits

    source = args.annotations or args.image_dir or args.data_dir or f"tfds:{args.tfds}"
    return read_labelled_splits(
        source,
        args.image_size,
        conditions=[n.strip() for n in args.conditions] if args.conditions else None,
        case_pattern=args.case_pattern,
        cache_dir=args.cache_dir,
        max_reject_fraction=args.max_reject_fraction,
        progress=program.progress,
    )


def read_synthetic_images(args, splits):
    """(images, generator's fingerprint, cases it was trained on); None: not known."""
    from dermgan_tf.errors import InputError
    from dermgan_tf.labelled_images import read_synthetic

    if not args.synthetic_dir:
        for name in ("synthetic_ratio", "real_share", "gan_data_dir"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name} needs --synthetic_dir")
        return None, None, None
    from dermgan_tf.leakage import require_gan_inside

    synthetic, generator, data_fingerprint = read_synthetic(
        args.synthetic_dir,
        args.image_size,
        splits["train"].conditions,
        cache_dir=args.cache_dir,
        progress=program.progress,
    )
    pairs = args.gan_data_dir or args.data_dir
    if not pairs:
        logging.warning(
            "what the generator was trained on is not checked: compare_classifiers "
            "will not trust these predictions; name its pairs with --gan_data_dir"
        )
        return synthetic, generator, None
    train_cases = splits["train"].cases
    return (
        synthetic,
        generator,
        require_gan_inside(data_fingerprint, pairs, train_cases),
    )


def print_summary(result, rejected):
    began = f" (went on from step {result.first_step})" if result.first_step else ""
    used = ", ".join(f"{count} {name}" for name, count in result.images.items())
    print(f"{'images':<24}{used}")
    if rejected:
        print(f"{'photos left out':<24}{rejected}, see run.json")
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
