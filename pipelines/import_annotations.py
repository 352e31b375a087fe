"""Turns other people's annotations into annotations.jsonl, with the photos beside it.

mask_folder: photos and masks of one condition; every connected region becomes a box.
pad_ufes_20: the PAD-UFES-20 data set, whole or in part.

Writes OUTPUT_DIR/annotations.jsonl, photos/, rejects.csv and run.json.
"""

import os
import time

from absl import flags

from pipelines import program

FORMATS = ("mask_folder", "pad_ufes_20")
SKIN_TYPES = ("unknown", "I", "II", "III", "IV", "V", "VI")


def define_flags():
    flags.DEFINE_enum("format", None, FORMATS, "What the input is.", required=True)
    flags.DEFINE_string(
        "input_dir",
        None,
        "The data set's folder. mask_folder looks in it for images/ and masks/.",
    )
    flags.DEFINE_string(
        "images_dir", None, "mask_folder: the photos (default: INPUT_DIR/images)."
    )
    flags.DEFINE_string(
        "masks_dir", None, "mask_folder: the masks (default: INPUT_DIR/masks)."
    )
    flags.DEFINE_string(
        "condition", None, "mask_folder: the skin condition that all photos show."
    )
    flags.DEFINE_string(
        "mask_suffix",
        "",
        "mask_folder: what a mask's name has more than its photo's, e.g. _mask.",
    )
    flags.DEFINE_string(
        "case_pattern",
        "",
        "mask_folder: regular expression that finds the case in a photo's name, e.g. "
        "^[^_]+ where c17_2.jpg is of case c17. By default each photo is a case.",
    )
    flags.DEFINE_float(
        "min_region_area",
        0.0002,
        "Regions of a mask smaller than this share of the photo are ignored and "
        "counted (0.0002: 52 pixels of 512 x 512).",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_enum(
        "photos",
        "link",
        ("link", "copy"),
        "Link to the photos, which must then stay where they are, or copy them.",
    )
    flags.DEFINE_bool(
        "estimate_skin_type",
        False,
        "Estimate missing Fitzpatrick skin types from the colour (ITA) of the skin "
        "outside the boxes, and report the error where types are known.",
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Fail if a larger share of the photos cannot be used.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_string("output_dir", None, "Where to write.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty OUTPUT_DIR.")
    flags.register_multi_flags_validator(
        ["format", "input_dir", "images_dir", "masks_dir", "condition"], _check_flags
    )


def main(args):
    from dermgan_tf.annotations import write_annotations
    from dermgan_tf.errors import check_reject_fraction, write_rejects
    from dermgan_tf.importers import estimate_skin_types, place_photos
    from dermgan_tf.importers.mask_folder import import_mask_folder
    from dermgan_tf.importers.pad_ufes_20 import import_pad_ufes_20
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.run_record import write_run_record

    if args.format == "mask_folder":
        photos_dir = args.images_dir or os.path.join(args.input_dir, "images")
        masks_dir = args.masks_dir or os.path.join(args.input_dir, "masks")
        inputs = [photos_dir, masks_dir]
    else:
        photos_dir = args.input_dir
        inputs = [photos_dir]
    started = time.monotonic()
    durations = {}
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        if args.format == "mask_folder":
            annotations, rejects, counts = import_mask_folder(
                photos_dir,
                masks_dir,
                args.condition,
                mask_suffix=args.mask_suffix,
                case_pattern=args.case_pattern,
                min_region_area=args.min_region_area,
                progress=program.progress,
            )
        else:
            annotations, rejects, counts = import_pad_ufes_20(
                photos_dir,
                min_region_area=args.min_region_area,
                progress=program.progress,
            )
        total = len(annotations) + len(rejects)
        check_reject_fraction(rejects, total, args.max_reject_fraction, photos_dir)
        durations["reading"] = time.monotonic() - started
        missing = sum(not annotation.fitzpatrick for annotation in annotations)
        error = None
        if args.estimate_skin_type:
            annotations, error = estimate_skin_types(
                annotations, photos_dir, program.progress
            )
        placed = place_photos(
            annotations, photos_dir, folder, copy=args.photos == "copy"
        )
        write_annotations(folder / "annotations.jsonl", placed)
        write_rejects(folder / "rejects.csv", rejects)
        durations["all"] = time.monotonic() - started
        write_run_record(
            folder,
            "import_annotations",
            program.flag_values(args),
            data_fingerprint=_sha256(folder / "annotations.jsonl"),
            durations=durations,
        )
    _print_summary(annotations, rejects, counts)
    if error is not None:
        _print_estimation(annotations, missing, error)
    if args.format == "mask_folder" and not args.case_pattern:
        print(
            "\neach photo is a case of its own: if patients have several photos, name "
            "the case by --case_pattern, or they can meet in train and test"
        )
    print(f"\nwritten: {os.path.join(args.output_dir, 'annotations.jsonl')}")


def _check_flags(values):
    if values["format"] == "pad_ufes_20":
        if not values["input_dir"]:
            raise flags.ValidationError("--format=pad_ufes_20 needs --input_dir")
        return True
    if not (values["condition"] or "").strip():
        raise flags.ValidationError("--format=mask_folder needs --condition")
    if not values["input_dir"] and not (values["images_dir"] and values["masks_dir"]):
        raise flags.ValidationError(
            "--format=mask_folder needs --input_dir, or --images_dir and --masks_dir"
        )
    return True


def _print_summary(annotations, rejects, counts):
    cases = len({annotation.case_id for annotation in annotations})
    rois = sum(len(annotation.rois) for annotation in annotations)
    lines = {"photos": len(annotations), "cases": cases, "ROIs": rois}
    for name, count in {**lines, **counts, "rejected": len(rejects)}.items():
        print(f"{name:<24}{count:>8}")
    for reject in rejects[:5]:
        print(f"  {reject.item}: {reject.reason}")
    if len(rejects) > 5:
        print("  … all in rejects.csv")
    print("\nphotos by condition and Fitzpatrick skin type")
    conditions = sorted({annotation.condition for annotation in annotations})
    width = max(len(name) for name in ("all", *conditions)) + 2
    columns = [*range(1, len(SKIN_TYPES)), 0]
    print(
        f"{'':<{width}}" + "".join(f"{SKIN_TYPES[t]:>9}" for t in columns) + "      all"
    )
    for name in (*conditions, "all"):
        of_name = [a.fitzpatrick for a in annotations if name in (a.condition, "all")]
        cells = [*(of_name.count(t) for t in columns), len(of_name)]
        print(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))


def _print_estimation(annotations, missing, error):
    left = sum(not annotation.fitzpatrick for annotation in annotations)
    print(f"\nskin type estimated for {missing - left} photos, by the colour of skin")
    if left:
        print(f"{left} photos show too little skin; their type stays unknown")
    if not error["n"]:
        print("no photo's skin type is known: the estimate's error is unknown")
        return
    print(
        f"the estimate against the {error['n']} known types: "
        f"exact {error['exact']:.0%}, within one {error['within_one']:.0%}, "
        f"mean absolute error {error['mean_absolute_error']:.2f} types, "
        f"mean error {error['mean_error']:+.2f} (+ is darker than known)"
    )


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
