"""Adds or removes pathology in photographs, or in patches, with an exported translator.

Writes images/ (PNG files that say in their text that they are synthetic, and by which
translator), masks/, translated.jsonl and sheet.png. Of the patches that the translator
was trained on, generated.jsonl too: train_classifier and augmentation_study take such a
folder as --synthetic_dir. Bad photos are listed in OUTPUT_DIR/rejects.csv; when there
are too many the run fails, and the list is OUTPUT_DIR.rejects.csv.

  translate --saved_model=saved_models/ulcers_removed --images_dir=photos \
    --masks_dir=masks --output_dir=runs/removed
  translate --saved_model=saved_models/ulcers_added --data_dir=data/ulcer_patches \
    --split=train --output_dir=runs/added
"""

import contextlib
import os
import time

from absl import flags

from pipelines.prepare_pairs import rejects_kept
from pipelines.shared import program

SOURCES = ("images_dir", "annotations", "data_dir")
GIVEN = (*SOURCES, "masks_dir", "saved_model")


def define_flags():
    flags.DEFINE_string(
        "saved_model", None, "Folder that export_translator made.", required=True
    )
    flags.DEFINE_string(
        "images_dir", None, "Folder of photos, no smaller than the translator's side."
    )
    flags.DEFINE_string("annotations", None, "Or the photos of an annotations.jsonl.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Or a folder of patches, as from prepare_patches: to remove, those of "
        "pathology with their masks; to add, healthy ones, on which masks of the same "
        "split's pathology are laid.",
    )
    flags.register_multi_flags_validator(
        SOURCES,
        lambda values: sum(map(bool, values.values())) == 1,
        "give one of --images_dir, --annotations and --data_dir",
    )
    flags.DEFINE_string(
        "masks_dir",
        None,
        "Folder of the photos' masks, of their size and name, white where the photo is "
        "to change. One that is empty leaves its photo as it is.",
    )
    flags.register_multi_flags_validator(
        ["masks_dir", "data_dir"],
        lambda values: bool(values["masks_dir"]) != bool(values["data_dir"]),
        "photos need --masks_dir=DIR; patches have their masks",
    )
    flags.DEFINE_string(
        "mask_suffix", "", "What masks' names have more than photos', e.g. _mask."
    )
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "Of --data_dir, whose patches and masks. Only images of train may be trained "
        "on.",
    )
    flags.DEFINE_integer(
        "masks_per_patch",
        1,
        "To add: images made of each healthy patch of --data_dir, each with another "
        "mask.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of which mask is laid on which patch.", lower_bound=0
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the images.", required=True
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that read photos; default: one a CPU core.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    start = time.monotonic()
    program.load_tensorflow()
    from dermgan_tf.generation.translated import (
        write_translated_patches,
        write_translated_photos,
    )
    from dermgan_tf.models.translation.served import load_translator
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.run_record import write_run_record

    translator = load_translator(args.saved_model)
    loaded = time.monotonic()
    given = [getattr(args, name) for name in GIVEN]
    with contextlib.ExitStack() as stack:
        stack.enter_context(rejects_kept(args.output_dir))
        folder = stack.enter_context(
            output_folder(args.output_dir, args.overwrite, filter(None, given))
        )
        if args.data_dir:
            done = write_translated_patches(
                translator,
                args.data_dir,
                args.split,
                folder,
                seed=args.seed,
                masks_per_patch=args.masks_per_patch,
                progress=program.progress,
            )
        else:
            photos, rejects = masked(args)
            done = write_translated_photos(
                translator,
                photos,
                folder,
                rejects,
                args.max_reject_fraction,
                args.workers,
                program.progress,
            )
        painting = time.monotonic() - loaded
        write_run_record(
            folder,
            "translate",
            {**program.flag_values(args), "generator": translator.fingerprint},
            seed=args.seed,
            data_fingerprint=translator.trained_on,
            durations={"load": loaded - start, "paint": painting},
        )
    print_summary(args, translator, done, painting)


def masked(args):
    from dermgan_tf.pairs.sources import annotations_of_folder, masked_photos
    from dermgan_tf.photos.annotations import read_annotations

    if args.images_dir:
        folder, bad = args.images_dir, []
        annotations = annotations_of_folder(folder, "unknown")
    else:
        annotations, bad = read_annotations(args.annotations)
        folder = os.path.dirname(os.path.abspath(args.annotations))
    photos, rejects = masked_photos(
        folder, annotations, args.masks_dir, args.mask_suffix
    )
    return photos, [*bad, *rejects]


def print_summary(args, translator, done, seconds):
    verb = {"add": "pathology added", "remove": "pathology removed"}
    count = done["images"]
    print(
        f"{args.output_dir}: {count} synthetic images, {verb[translator.direction]}, "
        f"in {seconds:.1f} s ({count / seconds:.1f} images/s), translator "
        f"{translator.fingerprint[:8]}"
    )
    if done["unchanged"]:
        print(f"empty masks, photos left as they are: {done['unchanged']}")
    if not args.data_dir:
        print(f"bad items, see rejects.csv: {done['rejected']}")
        print("which image is of which photo, for you alone: sources.csv")
    elif done["not_to_train_on"]:
        print(f"not to train classifiers on: {done['not_to_train_on']}")
    else:
        print("to train a classifier on them: --synthetic_dir (generated.jsonl)")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
