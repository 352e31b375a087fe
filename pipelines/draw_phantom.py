"""Draws phantom photographs with their annotations, as a clinic would deliver them.

Writes photos/*.jpg and annotations.jsonl. Cases have one to six photos, conditions a
long tail; a fifth of the photos is turned by EXIF. The same flags give the same bytes.
"""

import time

from absl import flags

from pipelines.shared import program

SPLITS = ("train", "validation", "test")


def define_flags():
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the photos.", required=True
    )
    flags.DEFINE_integer(
        "cases",
        300,
        "Cases to draw, without a split: readers split them by a hash of the case.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "split_cases",
        None,
        "Cases of each split instead, as train=800,validation=200,test=500. Each split "
        "gets the whole balance of conditions.",
    )
    flags.DEFINE_integer(
        "conditions", 8, "Conditions to draw.", lower_bound=1, upper_bound=27
    )
    flags.DEFINE_list(
        "skin_types",
        None,
        "Shares of the Fitzpatrick types I to VI, six numbers of which only the ratios "
        "count, as 1,2,3,2,1,0.1. Default: 8,21,26,21,15,9.",
    )
    flags.DEFINE_list(
        "test_skin_types",
        None,
        "The same for split test: a type that is rare in training can be common where "
        "it is measured. Needs --split_cases. Default: as --skin_types.",
    )
    flags.DEFINE_list("photo_size", ["480", "640"], "Height and width in pixels.")
    flags.DEFINE_string(
        "case_prefix",
        "phantom",
        "What case ids begin with. Sets that are to be put together need different "
        "ones, and different seeds.",
    )
    flags.DEFINE_integer("seed", 0, "Seed of everything drawn.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    from dermgan_tf.errors import InputError
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.phantom import write_phantom
    from dermgan_tf.photos.annotations import read_annotations
    from dermgan_tf.run_record import write_run_record

    start = time.monotonic()
    cases = args.cases if args.split_cases is None else split_cases(args.split_cases)
    shares = {}
    if args.skin_types is not None:
        names = cases if isinstance(cases, dict) else [""]
        shares = dict.fromkeys(names, numbers("skin_types", args.skin_types, float))
    if args.test_skin_types is not None:
        if not isinstance(cases, dict) or "test" not in cases:
            raise InputError("--test_skin_types needs test=… in --split_cases")
        shares["test"] = numbers("test_skin_types", args.test_skin_types, float)
    size = numbers("photo_size", args.photo_size, int)
    if len(size) != 2 or min(size) < 32:
        raise InputError(
            f"--photo_size wants height,width from 32 pixels on, got "
            f"{','.join(args.photo_size)}"
        )
    with output_folder(args.output_dir, args.overwrite) as folder:
        path = write_phantom(
            folder,
            cases,
            args.conditions,
            args.seed,
            tuple(size),
            program.progress,
            shares,
            args.case_prefix,
        )
        annotations, _ = read_annotations(path)
        write_run_record(
            folder,
            "draw_phantom",
            program.flag_values(args),
            seed=args.seed,
            durations={"draw": time.monotonic() - start},
        )
    drawn = len({annotation.case_id for annotation in annotations})
    print(f"{args.output_dir}: {len(annotations)} photos of {drawn} cases")


def split_cases(given: list[str]) -> dict[str, int]:
    """["train=8", "test=2"] -> {"train": 8, "test": 2}"""
    from dermgan_tf.errors import InputError

    found = {}
    for part in given:
        name, _, count = part.partition("=")
        if name not in SPLITS or name in found or not count.isdecimal():
            raise InputError(
                f"--split_cases wants train=N,validation=N,test=N, got {part!r}"
            )
        found[name] = int(count)
    return found


def numbers(flag: str, given: list[str], kind: type) -> list:
    from dermgan_tf.errors import InputError

    try:
        return [kind(text) for text in given]
    except ValueError:
        raise InputError(f"--{flag} wants numbers, got {','.join(given)}") from None


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
