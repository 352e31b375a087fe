"""Cuts crops around the ROIs of annotated photos and writes them with semantic maps.

Bad photos and lines are listed in OUTPUT_DIR/rejects.csv; when there are too many the
run fails, and the list is OUTPUT_DIR.rejects.csv. But for that list no output has a
photo's name, a path or metadata of a photo; docs/privacy.md tells what they have.
"""

import contextlib
import os
import shlex
import sys
import time

from absl import flags

from pipelines.shared import beam_flags, id_flags, program


def define_flags():
    flags.DEFINE_string(
        "annotations", None, "annotations.jsonl of the photos to cut from."
    )
    flags.DEFINE_bool("phantom", False, "Cut from drawn phantom photos instead.")
    flags.register_multi_flags_validator(
        ["annotations", "phantom"],
        lambda values: bool(values["annotations"]) != values["phantom"],
        "give either --annotations=FILE or --phantom",
    )
    flags.DEFINE_integer("phantom_cases", 300, "Phantom cases to draw.", lower_bound=1)
    flags.DEFINE_integer(
        "phantom_conditions",
        8,
        "Conditions that the phantom cases have.",
        lower_bound=1,
        upper_bound=27,
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the pairs.", required=True
    )
    flags.DEFINE_integer("image_size", 256, "Side of a crop in pixels: 64 to 512.")
    flags.DEFINE_integer("crops_per_photo", 4, "Crops cut from a photo.", lower_bound=1)
    flags.DEFINE_integer(
        "healthy_crops_per_photo",
        0,
        "Crops of skin outside all ROIs to cut from a photo besides: the class "
        '"healthy skin", whose maps have no box.',
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "train_cases",
        None,
        "Take so many training cases only, drawn by the seed, of each condition its "
        "share: to see what few data do. Default: all.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "conditions",
        None,
        "The vocabulary: condition names, comma-separated, in the order that the maps "
        "encode. Photos of other conditions are left out. Default: all that occur, in "
        "alphabetical order.",
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random windows.", lower_bound=0)
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that read photos; default: one a CPU core. A decoder that crashes "
        "costs its photo only, also with 1.",
        lower_bound=1,
    )
    id_flags.define_id_flags("the pairs")
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")
    beam_flags.define_flags()


def main(args):
    start = time.monotonic()
    id_salt = id_flags.id_salt(args)
    program.load_tensorflow()
    from dermgan_tf.pairs.pairs import INFO_FILE
    from dermgan_tf.pairs.prepare import write_pairs
    from dermgan_tf.pairs.sources import phantom_photos
    from dermgan_tf.phantom import phantom_vocabulary
    from dermgan_tf.run_record import write_run_record

    given = [path for path in (args.annotations, args.id_salt_file) if path]
    with contextlib.ExitStack() as stack:
        stack.enter_context(rejects_kept(args.output_dir))
        if args.phantom:
            vocabulary = phantom_vocabulary(args.phantom_conditions)
            photos = phantom_photos(args.phantom_cases, vocabulary, args.seed)
            rejects, left_out = [], 0
        else:
            photos, vocabulary, rejects, left_out = annotated_photos(args)
        folder, beam_run = stack.enter_context(
            beam_flags.output(args, INFO_FILE, given, args.workers)
        )
        info = write_pairs(
            photos,
            vocabulary,
            folder,
            image_size=args.image_size,
            crops_per_photo=args.crops_per_photo,
            seed=args.seed,
            workers=args.workers,
            max_reject_fraction=args.max_reject_fraction,
            progress=program.progress,
            rejects=rejects,
            crash_safe=not args.phantom or None,
            id_salt=id_salt,
            beam_run=beam_run,
            healthy_crops_per_photo=args.healthy_crops_per_photo,
            train_cases=args.train_cases,
        )
        seconds = time.monotonic() - start
        write_run_record(
            folder,
            "prepare_pairs",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=info["fingerprint"],
            durations={"prepare_pairs": seconds},
        )
    print_summary(info, left_out, args.output_dir, seconds)


@contextlib.contextmanager
def rejects_kept(output_dir):
    """Writes the list of bad items beside the output folder that fails to appear."""
    from dermgan_tf.errors import InputError, TooManyRejects, write_rejects
    from dermgan_tf.remote_storage import is_remote, without_file_scheme

    output_dir = without_file_scheme(output_dir)

    path = f"{os.path.abspath(output_dir)}.rejects.csv"
    if is_remote(output_dir):  # in the folder where the program was started
        path = os.path.abspath(output_dir.rstrip("/").rpartition("/")[2])
        path += ".rejects.csv"
    try:
        yield
    except TooManyRejects as error:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_rejects(path, error.rejects)
        except OSError as failure:
            raise InputError(f"{error} (no list of them: {failure})") from None
        raise InputError(f"{error} (all of them: {path})") from None
    with contextlib.suppress(OSError):
        os.remove(path)  # of an earlier run, that failed


def annotated_photos(args):
    from dermgan_tf.errors import InputError, check_reject_fraction
    from dermgan_tf.pairs.sources import AnnotatedPhoto
    from dermgan_tf.photos.annotations import annotations_vocabulary, read_annotations
    from dermgan_tf.photos.vocabulary import Vocabulary
    from dermgan_tf.remote_storage import is_remote, local_copy, without_file_scheme

    path = without_file_scheme(args.annotations)
    remote = is_remote(path)
    with local_copy(path) if remote else contextlib.nullcontext(path) as local:
        annotations, rejects = read_annotations(local)
    lines = len(annotations) + len(rejects)
    if not lines:
        raise InputError(f"{args.annotations} describes no photo")
    check_reject_fraction(rejects, lines, args.max_reject_fraction, args.annotations)
    if args.conditions:
        vocabulary = Vocabulary(name.strip() for name in args.conditions)
        require_conditions(vocabulary, annotations)
    else:
        vocabulary = annotations_vocabulary(annotations)
    folder = os.path.dirname(path if remote else os.path.abspath(path))
    photos = [
        AnnotatedPhoto(folder, annotation)
        for annotation in annotations
        if {annotation.condition, *(r.condition for r in annotation.rois)}
        <= set(vocabulary)
    ]
    if not remote:  # all photos would be fetched
        warn_of_copies(path, [photo.annotation for photo in photos])
    return photos, vocabulary, rejects, len(annotations) - len(photos)


def require_conditions(vocabulary, annotations):
    """A name that no photo has is a slip."""
    from dermgan_tf.errors import InputError

    found = {annotation.condition for annotation in annotations}
    found |= {roi.condition for annotation in annotations for roi in annotation.rois}
    for name in vocabulary:
        if name not in found:
            known = ", ".join(sorted(found))
            raise InputError(f"unknown condition {name!r}; known: {known}")


def warn_of_copies(path, annotations):
    """One line where a file stands in two splits; other copies take a closer look."""
    from dermgan_tf.inspection.duplicates import same_files_across_splits
    from dermgan_tf.photos.annotations import case_splits

    splits = case_splits(annotations)
    folder = os.path.dirname(os.path.abspath(path))
    copies = same_files_across_splits(folder, annotations, splits)
    if copies:
        one, other = copies[0]
        print(
            "warning: photos that stand in two splits, byte for byte: "
            f"{len(copies)}, first {one.image} ({splits[one.case_id]}) and "
            f"{other.image} ({splits[other.case_id]}); to put their cases in one: "
            f"python -m pipelines.find_duplicates --annotations={shlex.quote(path)} "
            "--output_dir=DIR --dedupe=FILE",
            file=sys.stderr,
        )


def print_summary(info, left_out, output_dir, seconds):
    print(f"{'split':<12}{'crops':>8}{'photos':>8}{'cases':>8}")
    for split in info["crops"]:
        print(
            f"{split:<12}{info['crops'][split]:>8}{info['photos'][split]:>8}"
            f"{info['cases'][split]:>8}"
        )
    width = max(len(name) for name in ["crops by skin type", *info["conditions"]]) + 2
    header = ["unknown", "I", "II", "III", "IV", "V", "VI"]
    print(f"\n{'crops by skin type':<{width}}" + "".join(f"{h:>8}" for h in header))
    for name, by_type in info["conditions"].items():
        print(f"{name:<{width}}" + "".join(f"{n:>8}" for n in by_type))
    print()
    for measure, shares in info["skin_share"].items():
        low, high = shares["difference_95"]
        print(
            f"mean share of skin ({measure}, {shares['photos']} photos): "
            f"random windows {shares['random']:.3f}, ours {shares['ours']:.3f} "
            f"(95 % interval of the difference {low:+.3f} to {high:+.3f})"
        )
    print(f"photos without ROI, left out: {info['photos_without_roi']}")
    if left_out:
        print(f"photos of other conditions, left out: {left_out}")
    print(f"bad items, see rejects.csv: {info['rejected']}")
    crops = sum(info["crops"].values())
    print(f"{crops} pairs in {seconds:.1f} s: {output_dir}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
