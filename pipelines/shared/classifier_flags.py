"""Flags and inputs of the programs that train classifiers."""

from absl import flags, logging

from pipelines.shared import program
from pipelines.shared.device_flags import define_precision_flags
from pipelines.shared.id_flags import define_id_flags, id_salt

SOURCES = ("annotations", "image_dir", "data_dir")
# Flags that go to `train_classifier` under their own names.
TRAINING = (
    "steps",
    "epochs",
    "batch_size",
    "architecture",
    "alpha",
    "frozen_steps",
    "head_learning_rate",
    "learning_rate",
    "augment",
    "imbalance",
    "real_share",
    "synthetic_until",
    "deterministic",
    "mixed_precision",
    "validate_every",
    "log_every",
)


def define_source_flags():
    flags.DEFINE_string("annotations", None, "annotations.jsonl of whole photos.")
    flags.DEFINE_string(
        "image_dir",
        None,
        "Folder of photos: SPLIT/CONDITION/photo or CONDITION/photo.",
    )
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of pairs, as from prepare_pairs: trains on crops. Or of patches, as "
        "from prepare_patches: pathology against healthy skin.",
    )
    flags.register_multi_flags_validator(
        SOURCES,
        lambda values: sum(map(bool, values.values())) == 1,
        "give one of --annotations, --image_dir and --data_dir",
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
        "Default: every photo is a case, with its augmented copies (.rf., _flip, …); "
        "so are all photos in a person's folder (patient_17, p01).",
    )
    flags.DEFINE_string(
        "cache_dir",
        None,
        "Existing folder for resized photos while the program runs, 3 × image_size² "
        "bytes a photo. Default: the system's temporary folder.",
    )
    define_id_flags("predictions, reports and messages")
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )


def define_copy_flags():
    """How copies of held-out photos are looked for."""
    flags.DEFINE_bool(
        "check_copies",
        None,
        "Look for copies of validation and test photos among all that is trained on. "
        "Default: yes where a network to see them with is at hand: --embedding or "
        "--embedding_weights is given, or --architecture=mobilenet_v2 with --alpha=1 "
        "starts from pretrained --weights (with imagenet, if the 160-pixel weights are "
        "there or can be downloaded); else no, with a warning.",
    )
    flags.DEFINE_string(
        "embedding",
        None,
        "Network that copies are seen with: mobilenet_v2, inception_v3, tfgan, or the "
        "path of a .keras model. Default: mobilenet_v2, for which the thresholds were "
        "measured.",
    )
    flags.DEFINE_string(
        "embedding_weights",
        None,
        "Weights file (.weights.h5, without top) of that network. Default: --weights, "
        "where those are of mobilenet_v2 with --alpha=1; else the published weights, "
        "which are downloaded on first use.",
    )
    flags.DEFINE_bool(
        "allow_copies",
        False,
        "Go on where training photos are copies of validation or test photos; "
        "classifier.json records them. Synthetic images never may be.",
    )


def define_network_flags():
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


def define_schedule_flags():
    flags.DEFINE_integer("steps", None, "Weight updates.", lower_bound=1)
    flags.DEFINE_float(
        "epochs",
        None,
        "The length as passes over the real training images. Default, without --steps: "
        "20.",
        lower_bound=0,
    )
    flags.register_multi_flags_validator(
        ["steps", "epochs"],
        lambda values: values["steps"] is None or values["epochs"] is None,
        "give --steps or --epochs, not both",
    )
    flags.DEFINE_bool(
        "real_exposure",
        False,
        "Count --steps and --epochs in real images: with synthetic images the training "
        "is longer by so many steps that about as many real images are seen as "
        "without. Default: as many steps, of which synthetic images take their share.",
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
    flags.DEFINE_float(
        "real_share",
        None,
        "With synthetic images: share of every batch that is real, 0 to 1. Default: "
        "real and synthetic images are pooled.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "synthetic_until",
        None,
        "With synthetic images: share of the steps, from the first on, that see them; "
        "the rest is trained on real ones alone. Default: all steps.",
        lower_bound=0,
        upper_bound=1,
    )


def define_running_flags():
    define_precision_flags()
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


def training_arguments(args):
    """What goes to `train_classifier` as it was given."""
    # Studies begun before there was a real exposure have none in their record.
    exposure = {"real_exposure": True} if args.real_exposure else {}
    return {
        **{name: getattr(args, name) for name in TRAINING},
        **exposure,
        "weights": starting_weights(args),
    }


def starting_weights(args):
    """A name, a path or None."""
    if args.weights is None:
        return "imagenet" if args.architecture == "mobilenet_v2" else None
    return None if args.weights == "none" else args.weights


def read_photographs(args):
    source = args.annotations or args.image_dir or args.data_dir
    conditions = [n.strip() for n in args.conditions] if args.conditions else None
    return read_splits(source, args, conditions, args.case_pattern)


def read_splits(source, args, conditions, case_pattern):
    from dermgan_tf.classifier.labelled_reading import read_labelled_splits

    return read_labelled_splits(
        source,
        args.image_size,
        conditions=conditions,
        case_pattern=case_pattern,
        cache_dir=args.cache_dir,
        max_reject_fraction=args.max_reject_fraction,
        id_salt=id_salt(args),
        progress=program.progress,
        crash_safe=True,
    )


def read_synthetic_of(folder, args, splits, gan_pairs, allow_unchecked=None):
    """Synthetic images of a generator that was trained on training cases alone.

    Args:
        folder: as from generate.
        args: the program's flags.
        splits: the photographs.
        gan_pairs: folders of pairs or patches, one of which the generator was trained
            on; empty if none was named. --data_dir counts, too, where it is the one.
        allow_unchecked: bool. Whether none need be; None where no flag allows it.

    Returns:
        (images, the generator's fingerprint, cases it was trained on; None: not known)
    """
    from dermgan_tf.classifier.labelled_reading import read_synthetic
    from dermgan_tf.classifier.leakage import require_gan_inside
    from dermgan_tf.errors import InputError
    from dermgan_tf.pairs.photographs import read_data_info

    images, generator, trained_on = read_synthetic(
        folder,
        args.image_size,
        splits["train"].conditions,
        cache_dir=args.cache_dir,
        progress=program.progress,
    )
    known = [*gan_pairs, *([args.data_dir] if args.data_dir else [])]
    same = [p for p in known if read_data_info(p).fingerprint == trained_on]
    # Of named ones that all differ, the message tells how.
    for pairs in [*same, *gan_pairs][:1]:
        cases = require_gan_inside(
            trained_on, pairs, splits["train"].cases, id_salt(args)
        )
        return images, generator, cases
    if not allow_unchecked:
        why = f"was not trained on --data_dir={args.data_dir} and " if known else ""
        allow = (
            ", or pass --allow_unchecked_generator (compare_classifiers will not take "
            "such predictions)"
        )
        raise InputError(
            f"the generator of {folder} {why}may have seen validation or test photos: "
            "name the pairs that it was trained on with --gan_data_dir"
            + (allow if allow_unchecked is not None else "")
        )
    logging.warning(
        "what the generator of %s was trained on is not checked: compare_classifiers "
        "will not take these predictions",
        folder,
    )
    return images, generator, None


def copies_embedding(args):
    """What copies are looked for with; None where they are not, with a warning."""
    from dermgan_tf.errors import InputError
    from dermgan_tf.metrics.embeddings import build_embedding

    network = args.embedding or "mobilenet_v2"
    own = None  # the classifier's own start, where it is that network
    if args.architecture == "mobilenet_v2" == network and args.alpha == 1:
        own = starting_weights(args)
    weights = args.embedding_weights or (None if own == "imagenet" else own)
    why = "--nocheck_copies was given"
    if args.check_copies or (
        args.check_copies is None and (args.embedding or args.embedding_weights)
    ):
        return build_embedding(network, weights)
    if args.check_copies is None:
        why = "name a network to see them with by --embedding or --embedding_weights"
        if own:
            try:
                return build_embedding(network, weights)
            except InputError as error:
                if own != "imagenet":
                    raise
                why = str(error)
    logging.warning(
        "copies of validation and test photos among the training images are not looked "
        "for: %s",
        why,
    )
    return None
