"""Turns other people's annotations into annotations.jsonl, with the photos beside it.

Boxes: coco (also from Label Studio and CVAT), voc (Pascal VOC), yolo.
Masks: mask_folder (one condition; every connected region becomes a box).
Data sets, whole or in part: pad_ufes_20, ham10000, isic (with masks where they are
there), fitzpatrick17k, scin, ddi (no boxes). class_folders: a folder a condition.
docs/importers.md tells what each reads, and what it cannot give.

Writes OUTPUT_DIR/annotations.jsonl, photos/, rejects.csv, run.json, and with
--label_map label_report.csv.
"""

import importlib
import os
import re
import time

from absl import flags

from pipelines.shared import program

# Format -> module and function in dermgan_tf.photos.importers.
IMPORTERS = {
    "mask_folder": ("mask_folder", "import_mask_folder"),
    "coco": ("coco", "import_coco"),
    "voc": ("voc", "import_voc"),
    "yolo": ("yolo", "import_yolo"),
    "class_folders": ("class_folders", "import_class_folders"),
    "pad_ufes_20": ("published", "import_pad_ufes_20"),
    "fitzpatrick17k": ("published", "import_fitzpatrick17k"),
    "scin": ("published", "import_scin"),
    "ddi": ("published", "import_ddi"),
    "ham10000": ("isic", "import_ham10000"),
    "isic": ("isic", "import_isic"),
}
FORMATS = tuple(IMPORTERS)
BOXES = ("coco", "voc", "yolo")
MASKS = ("mask_folder", "pad_ufes_20", "ham10000", "isic")
# Which formats a flag is for; it is an error with others.
FORMATS_OF_FLAG = {
    "images_dir": tuple(f for f in FORMATS if f not in ("yolo", "class_folders")),
    "masks_dir": ("mask_folder", "ham10000", "isic"),
    "annotations_file": ("coco", "yolo", "fitzpatrick17k", "ddi", "ham10000", "isic"),
    "condition": ("mask_folder", *BOXES),
    "label_column": ("fitzpatrick17k", "ddi", "isic"),
    "mask_suffix": ("mask_folder",),
    "lesion_values": MASKS,
    "boxes_in": (*BOXES, *MASKS),
    "match_names": ("coco", "voc"),
    "voc_first_pixel": ("voc",),
    "ddi_skin_tone": ("ddi",),
    "case_pattern": (
        *("mask_folder", *BOXES, "class_folders"),
        *("fitzpatrick17k", "ddi"),
    ),
}
# Of these nothing but a photo's name can tell the patient.
NO_CASES = FORMATS_OF_FLAG["case_pattern"]
# Flag -> argument of the importer, where that is another name.
ARGUMENT_OF_FLAG = {
    "condition": "label_without_boxes",
    "voc_first_pixel": "first_pixel",
    "ddi_skin_tone": "skin_tone",
}
# What the library's errors say of arguments -> the flag.
FLAG_OF_WORDS = {
    "keep_splits=False": "--nokeep_splits",
    "a condition for photos without boxes": "--condition",
    **{
        name: f"--{name}"
        for name in ("match_names", "annotations_file", "boxes_in", "mask_suffix")
    },
}


def define_flags():
    flags.DEFINE_enum("format", None, FORMATS, "What the input is.", required=True)
    flags.DEFINE_string(
        "input_dir",
        None,
        "The data set's folder. mask_folder looks in it for images/ and masks/.",
    )
    flags.DEFINE_string(
        "images_dir",
        None,
        "The folder of photos, if it is not in INPUT_DIR (mask_folder: if it is not "
        "INPUT_DIR/images).",
    )
    flags.DEFINE_string(
        "masks_dir",
        None,
        "mask_folder: the masks (default: INPUT_DIR/masks). ham10000, isic: the masks, "
        "if they are not in INPUT_DIR.",
    )
    flags.DEFINE_string(
        "annotations_file",
        None,
        "The JSON, CSV or (yolo) the file of class names, if it has another name or "
        "place than usual.",
    )
    flags.DEFINE_string(
        "condition",
        None,
        "mask_folder: the skin condition that all photos show. coco, voc, yolo: that "
        "of photos without any box, which are else left out; refused while annotations "
        "are left over that could be theirs.",
    )
    flags.DEFINE_string(
        "label_column",
        None,
        "The column of conditions. fitzpatrick17k: label, nine_partition_label or "
        "three_partition_label; ddi: disease or malignant; isic: any (default: the "
        "first there is of diagnosis, diagnosis_3, iddx_3).",
    )
    flags.DEFINE_string(
        "label_map",
        None,
        "CSV, YAML or JSON file: their label, our condition; empty drops the label.",
    )
    flags.DEFINE_bool(
        "only_mapped", False, "Leave out labels that --label_map does not name."
    )
    flags.DEFINE_string(
        "mask_suffix",
        None,
        "mask_folder: what a mask's name has more than its photo's, e.g. _mask.",
    )
    flags.DEFINE_string(
        "case_pattern",
        None,
        "Formats that know no cases: regular expression that finds the case in a "
        "photo's name (in its path, if the pattern has a /), e.g. ^[^_]+ where "
        "c17_2.jpg is of case c17. By default the photos of a folder that is named "
        "like a person (patient_17, p01) are a case, a photo and its augmented copies "
        "(.rf. of Roboflow, _flip, _aug_3, …) are one, and else each photo is.",
    )
    flags.DEFINE_enum(
        "repeated",
        "merge",
        ("merge", "first", "reject"),
        "Of a photo that is told of twice, as by two annotators: merge the boxes "
        "(those of one condition that overlap by half are one; of two conditions they "
        "reject the photo), keep the first, or reject the photo.",
    )
    flags.DEFINE_enum(
        "boxes_in",
        None,
        ("seen", "stored", "seen_of_stored_size"),
        "What the boxes and masks of photos that EXIF turns are in: pixels of the "
        "photo as it is seen (default; CVAT, Roboflow), pixels as they are stored "
        "(tools that ignore EXIF, such as older LabelImg), or as seen but scaled to "
        "the stored size (Label Studio's COCO).",
    )
    flags.DEFINE_list(
        "lesion_values",
        None,
        "Masks: the numbers that are lesion, e.g. 1,3 (default: all but 0).",
    )
    flags.DEFINE_bool(
        "keep_splits",
        True,
        "Keep the data set's own splits; else they are made by case.",
    )
    flags.DEFINE_bool(
        "match_names",
        None,
        "coco, voc: find photos by their own names, whatever folders the file names.",
    )
    flags.DEFINE_enum(
        "voc_first_pixel",
        None,
        ("0", "1"),
        "voc: 0 (default), boxes are edges, as today's tools write; 1, boxes are the "
        "numbers of pixels from 1 on, both ends included, as in the VOC challenges.",
    )
    flags.DEFINE_enum(
        "ddi_skin_tone",
        None,
        ("unknown", "lower", "upper"),
        "ddi: what the pairs 12, 34, 56 become: unknown (default), the lower type (1, "
        "3, 5) or the upper (2, 4, 6).",
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
        [
            *("format", "input_dir", "label_map", "only_mapped"),
            *FORMATS_OF_FLAG,
        ],
        _check_flags,
    )


def main(args):
    from dermgan_tf.errors import InputError, TooManyRejects

    try:
        import_annotations(args)
    except TooManyRejects as error:
        raise TooManyRejects(_with_flags(error), error.rejects) from None
    except InputError as error:
        raise InputError(_with_flags(error)) from None


def _with_flags(error):
    """An error's text that names flags where the library names arguments."""
    text = str(error)
    for words, flag in FLAG_OF_WORDS.items():
        text = re.sub(rf"(?<![-\w]){words}\b", flag, text)
    return text


def import_annotations(args):
    from dermgan_tf.errors import InputError, check_reject_fraction, write_rejects
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.photos.annotations import write_annotations
    from dermgan_tf.photos.importers import estimate_skin_types, place_photos, summary
    from dermgan_tf.photos.importers.labels import (
        map_labels,
        read_label_map,
        write_label_report,
    )
    from dermgan_tf.photos.importers.names import settled_splits
    from dermgan_tf.run_record import write_run_record

    photos_dir, masks_dir = args.images_dir or args.input_dir, args.masks_dir
    if args.format == "mask_folder":
        photos_dir = args.images_dir or os.path.join(args.input_dir, "images")
        masks_dir = args.masks_dir or os.path.join(args.input_dir, "masks")
    given = [args.input_dir, masks_dir, args.annotations_file, args.label_map]
    inputs = [photos_dir, *(path for path in given if path)]
    labels = read_label_map(args.label_map) if args.label_map else None
    started = time.monotonic()
    durations = {}
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        annotations, rejects, counts = _import(args, photos_dir, masks_dir)
        total = len(annotations) + len(rejects)
        check_reject_fraction(rejects, total, args.max_reject_fraction, photos_dir)
        durations["reading"] = time.monotonic() - started
        report = errors = None
        if labels is not None:
            annotations, report = map_labels(annotations, labels, args.only_mapped)
            if not annotations:
                met = ", ".join(repr(line.label) for line in report if line.photos)
                raise InputError(
                    f"label map {args.label_map} leaves no photo of: {met}"
                )
            write_label_report(folder / "label_report.csv", report)
        annotations = settled_splits(annotations, args.keep_splits)
        if args.estimate_skin_type:
            annotations, errors = estimate_skin_types(
                annotations, photos_dir, program.progress, crash_safe=True
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
    lines = summary.summary_lines(annotations, rejects, counts)
    if report is not None:
        lines += ["", *summary.label_lines(report)]
    if errors is not None:
        lines += ["", *summary.estimation_lines(annotations, errors)]
    if counts.get("photos turned by EXIF") and args.boxes_in is None:
        lines += [
            "",
            "photos are turned by EXIF: their boxes were taken as of the photo as it "
            "is seen; look at some of them, and see --boxes_in",
        ]
    if args.format in NO_CASES and not args.case_pattern:
        lines += [
            "",
            "nothing but names tells the cases (see above): if patients have several "
            "photos, name the case by --case_pattern, or they can meet in train and "
            "test",
        ]
    print("\n".join(lines))
    print(f"\nwritten: {os.path.join(args.output_dir, 'annotations.jsonl')}")


def _import(args, photos_dir, masks_dir):
    """(annotations, rejects, counts) of the format asked for."""
    module, function = IMPORTERS[args.format]
    module = importlib.import_module(f"dermgan_tf.photos.importers.{module}")
    options = {
        ARGUMENT_OF_FLAG.get(flag, flag): getattr(args, flag)
        for flag, formats in FORMATS_OF_FLAG.items()
        if args.format in formats and getattr(args, flag) is not None
    }
    if "first_pixel" in options:
        options["first_pixel"] = int(options["first_pixel"])
    if "lesion_values" in options:
        options["lesion_values"] = tuple(map(int, options["lesion_values"]))
    folders = [args.input_dir]
    if args.format == "mask_folder":
        folders = [photos_dir, masks_dir, options.pop("label_without_boxes")]
        options.pop("images_dir", None)
        options.pop("masks_dir", None)
    return getattr(module, function)(
        *folders,
        repeated=args.repeated,
        min_region_area=args.min_region_area,
        progress=program.progress,
        crash_safe=True,
        **options,
    )


def _check_flags(values):
    chosen = values["format"]
    for flag, formats in FORMATS_OF_FLAG.items():
        if values[flag] is not None and chosen not in formats:
            raise flags.ValidationError(
                f"--{flag} is for the formats {', '.join(formats)}, not for {chosen}"
            )
    if not all(n.strip().isdecimal() for n in values["lesion_values"] or ()):
        raise flags.ValidationError("--lesion_values are whole numbers: 1,3")
    if values["only_mapped"] and not values["label_map"]:
        raise flags.ValidationError("--only_mapped needs --label_map")
    columns = {
        "fitzpatrick17k": ("label", "nine_partition_label", "three_partition_label"),
        "ddi": ("disease", "malignant"),
    }.get(chosen)
    if columns and values["label_column"] not in (None, *columns):
        raise flags.ValidationError(
            f"--label_column of {chosen} is one of {', '.join(columns)}"
        )
    if chosen != "mask_folder":
        if not values["input_dir"]:
            raise flags.ValidationError(f"--format={chosen} needs --input_dir")
        return True
    if not (values["condition"] or "").strip():
        raise flags.ValidationError("--format=mask_folder needs --condition")
    if not values["input_dir"] and not (values["images_dir"] and values["masks_dir"]):
        raise flags.ValidationError(
            "--format=mask_folder needs --input_dir, or --images_dir and --masks_dir"
        )
    return True


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
