"""Plans synthetic images that fill what a training set lacks, for `generate --plan`.

Each image's map is that of a real training crop of its class, turned or mirrored.
Writes one JSON file and prints what each class has, gets and will have.
"""

import math
import os

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_string(
        "data_dir", None, "Pairs that the generator was trained on.", required=True
    )
    flags.DEFINE_string("output", None, "The plan to write, JSON.", required=True)
    flags.DEFINE_string(
        "annotations",
        None,
        "Count the training photos of this annotations.jsonl, for a classifier of "
        "whole photos. Default: the training crops of --data_dir.",
    )
    flags.DEFINE_integer(
        "fill_to",
        None,
        "Fill every class to so many images, real and synthetic together. Default: as "
        "many real ones as the commonest class has.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "ratio", None, "Instead: so many synthetic images per real one in every class."
    )
    flags.DEFINE_list(
        "only", None, "Classes to plan for, comma-separated. Default: all."
    )
    flags.DEFINE_bool(
        "balance_skin_types",
        False,
        "Bring Fitzpatrick skin types I to VI to equal shares within each class, real "
        "images counted in, as far as its images reach. Default: as the class's real "
        "images are.",
    )
    flags.DEFINE_integer(
        "max_images",
        None,
        "Plan at most so many images: for the classes that have least, with --ratio in "
        "proportion.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "jitter",
        0,
        "Shift and scale each map's boxes by up to this share of their size.",
        lower_bound=0,
        upper_bound=0.5,
    )
    flags.DEFINE_integer(
        "seed", 0, "The same seed gives the same plan.", 0, upper_bound=2**31 - 1
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad lines in --annotations, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace the file --output.")
    flags.register_validator(
        "ratio",
        lambda ratio: ratio is None or 0 < ratio < math.inf,
        "want a number above 0",
    )
    flags.register_multi_flags_validator(
        ["fill_to", "ratio"],
        lambda values: values["fill_to"] is None or values["ratio"] is None,
        "give --fill_to or --ratio, not both",
    )


def main(args):
    from dermgan_tf.generation.balance import chosen_classes, plan_synthetic, write_plan
    from dermgan_tf.generation.scenes import count_crops, read_training_scenes
    from dermgan_tf.pairs.pairs import read_pairs_info

    check_output(args)
    info = read_pairs_info(args.data_dir)
    only = None if args.only is None else [name.strip() for name in args.only]
    annotations, bad_lines = [], 0
    if args.annotations:
        annotations, bad_lines = read_photos(args)
    named = {annotation.condition for annotation in annotations}
    # Before the pairs are read, which may take minutes.
    chosen_classes(only, [*info.vocabulary, *sorted(named - set(info.vocabulary))])
    program.load_tensorflow()
    scenes = read_training_scenes(args.data_dir, program.progress)
    if args.annotations:
        real = photo_counts(args, scenes, annotations)
    else:
        real = count_crops(scenes)
    plan = plan_synthetic(
        scenes,
        info.vocabulary,
        real=real,
        counted=f"training {'photos' if args.annotations else 'crops'}",
        fill_to=args.fill_to,
        ratio=args.ratio,
        only=only,
        balance_skin_types=args.balance_skin_types,
        max_images=args.max_images,
        jitter=args.jitter,
        seed=args.seed,
        data_fingerprint=info.fingerprint,
    )
    write_plan(args.output, plan)
    print_summary(args, plan, bad_lines)


def check_output(args):
    from dermgan_tf.errors import InputError

    if os.path.isdir(args.output):
        raise InputError(f"--output={args.output} is a folder; name a file")
    if os.path.exists(args.output) and not args.overwrite:
        raise InputError(f"{args.output} is there; choose another or pass --overwrite")
    output = os.path.realpath(args.output)
    for given in filter(None, (args.data_dir, args.annotations)):
        given = os.path.realpath(given)
        if os.path.commonpath([output, given]) == given:
            raise InputError(f"--output={args.output} is an input; choose another")


def read_photos(args):
    """(annotations, how many lines of the file are bad)."""
    from dermgan_tf.errors import InputError, check_reject_fraction
    from dermgan_tf.photos.annotations import read_annotations

    annotations, rejects = read_annotations(args.annotations)
    lines = len(annotations) + len(rejects)
    if not lines:
        raise InputError(f"{args.annotations} describes no photo")
    check_reject_fraction(rejects, lines, args.max_reject_fraction, args.annotations)
    return annotations, len(rejects)


def photo_counts(args, scenes, annotations):
    from dermgan_tf.errors import InputError
    from dermgan_tf.generation.scenes import count_photos, require_training_cases

    require_training_cases(scenes, annotations, args.data_dir, args.annotations)
    real = count_photos(annotations)
    if not real:
        raise InputError(f"{args.annotations} has no photo in split train")
    return real


def print_summary(args, plan, bad_lines):
    from dermgan_tf.generation.balance import plan_table

    counted = plan.settings["counted"]
    jittered = ", jittered" if args.jitter else ""
    print(f"real images: {counted} of {args.annotations or args.data_dir}")
    print(f"maps: those of training crops of {args.data_dir}, turned{jittered}\n")
    print(plan_table(plan) + "\n")
    if bad_lines:
        print(f"bad lines of {args.annotations}, left out: {bad_lines}")
    if plan.left_out:
        print(
            "left out, as no training crop has a box of them: "
            + ", ".join(plan.left_out)
        )
    if plan.full:
        print(f"nothing to add to: {', '.join(plan.full)}")
    unknown = sum(by_type[0] for by_type in plan.real.values())
    if args.balance_skin_types and unknown:
        total = sum(map(sum, plan.real.values()))
        print(
            f"skin type unknown: {unknown} of {total} real images ({counted}), not "
            "counted in the balance"
        )
    if plan.unmet:
        print(f"--max_images={args.max_images} leaves {plan.unmet} images unplanned")
    if not plan.images:
        print("nothing is to be painted: `generate` will refuse this plan")
    print(f"{plan.images} images, {len(plan.entries)} maps: {args.output}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
