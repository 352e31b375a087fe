"""Turns other people's annotations into annotations.jsonl, with the photos beside it.

Boxes: coco (also from Label Studio and CVAT), voc (Pascal VOC), yolo.
Masks: mask_folder (one condition; every connected region becomes a box).
Data sets, whole or in part: pad_ufes_20, ham10000, isic (with masks where they are
there), fitzpatrick17k, scin, ddi (no boxes). class_folders: a folder a condition.
docs/importers.md tells what each reads, and what it cannot give.

Writes OUTPUT_DIR/annotations.jsonl, photos/, rejects.csv, run.json, and with
--label_map label_report.csv.
"""

import os
import time

from absl import flags

from pipelines.shared import program

FORMATS = (
    "mask_folder",
    "coco",
    "voc",
    "yolo",
    "class_folders",
    "pad_ufes_20",
    "fitzpatrick17k",
    "scin",
    "ddi",
    "ham10000",
    "isic",
)
# Which formats a flag is for; it is an error with others.
FORMATS_OF_FLAG = {
    "images_dir": (
        *("mask_folder", "coco", "voc", "fitzpatrick17k"),
        *("scin", "ddi", "ham10000", "isic"),
    ),
    "masks_dir": ("mask_folder", "ham10000", "isic"),
    "annotations_file": ("coco", "yolo", "fitzpatrick17k", "ddi", "ham10000", "isic"),
    "condition": ("mask_folder", "coco", "voc", "yolo"),
    "label_column": ("fitzpatrick17k", "ddi", "isic"),
    "mask_suffix": ("mask_folder",),
    "match_names": ("coco", "voc"),
    "voc_first_pixel": ("voc",),
    "ddi_skin_tone": ("ddi",),
    "case_pattern": (
        *("mask_folder", "coco", "voc", "yolo", "class_folders"),
        *("fitzpatrick17k", "ddi"),
    ),
}
# Of these nothing but a photo's name can tell the patient.
NO_CASES = FORMATS_OF_FLAG["case_pattern"]


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
        "of photos without any box, which are else left out.",
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
        "c17_2.jpg is of case c17. By default each photo is a case.",
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
    from dermgan_tf.errors import check_reject_fraction, write_rejects
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.photos.annotations import write_annotations
    from dermgan_tf.photos.importers import estimate_skin_types, place_photos
    from dermgan_tf.photos.importers.labels import read_label_map, write_label_report
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
        report = None
        if labels is not None:
            annotations, report = _map_labels(annotations, labels, args)
            write_label_report(folder / "label_report.csv", report)
        annotations = settled_splits(annotations, args.keep_splits)
        missing = sum(not annotation.fitzpatrick for annotation in annotations)
        error = None
        if args.estimate_skin_type:
            annotations, error = estimate_skin_types(
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
    _print_summary(annotations, rejects, counts)
    if report is not None:
        _print_labels(report)
    if error is not None:
        _print_estimation(annotations, missing, error)
    if args.format in NO_CASES and not args.case_pattern:
        print(
            "\neach photo is a case of its own: if patients have several photos, name "
            "the case by --case_pattern, or they can meet in train and test"
        )
    print(f"\nwritten: {os.path.join(args.output_dir, 'annotations.jsonl')}")


def _import(args, photos_dir, masks_dir):
    """(annotations, rejects, counts) of the format asked for."""
    from dermgan_tf.photos.importers import (
        class_folders,
        coco,
        ddi,
        fitzpatrick17k,
        isic,
        mask_folder,
        published,
        scin,
        voc,
        yolo,
    )

    importers = {
        "mask_folder": mask_folder.import_mask_folder,
        "coco": coco.import_coco,
        "voc": voc.import_voc,
        "yolo": yolo.import_yolo,
        "class_folders": class_folders.import_class_folders,
        "pad_ufes_20": published.import_pad_ufes_20,
        "fitzpatrick17k": fitzpatrick17k.import_fitzpatrick17k,
        "scin": scin.import_scin,
        "ddi": ddi.import_ddi,
        "ham10000": isic.import_ham10000,
        "isic": isic.import_isic,
    }
    importer = importers[args.format]
    if args.format == "mask_folder":
        return importer(
            photos_dir,
            masks_dir,
            args.condition,
            mask_suffix=args.mask_suffix or "",
            case_pattern=args.case_pattern or "",
            min_region_area=args.min_region_area,
            progress=program.progress,
            crash_safe=True,
        )
    options = {
        "images_dir": args.images_dir,
        "masks_dir": args.masks_dir,
        "annotations_file": args.annotations_file,
        "label_without_boxes": args.condition,
        "label_column": args.label_column,
        "case_pattern": args.case_pattern,
        "match_names": args.match_names,
        "first_pixel": args.voc_first_pixel and int(args.voc_first_pixel),
        "skin_tone": args.ddi_skin_tone,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if args.format in ("pad_ufes_20", "ham10000", "isic"):
        options["min_region_area"] = args.min_region_area
    return importer(
        args.input_dir, progress=program.progress, crash_safe=True, **options
    )


def _map_labels(annotations, labels, args):
    from dermgan_tf.errors import InputError
    from dermgan_tf.photos.importers.labels import map_labels

    mapped, report = map_labels(annotations, labels, args.only_mapped)
    if not mapped:
        met = ", ".join(repr(line.label) for line in report if line.photos)
        raise InputError(f"label map {args.label_map} leaves no photo of: {met}")
    return mapped, report


def _check_flags(values):
    chosen = values["format"]
    for flag, formats in FORMATS_OF_FLAG.items():
        if values[flag] is not None and chosen not in formats:
            raise flags.ValidationError(
                f"--{flag} is for the formats {', '.join(formats)}, not for {chosen}"
            )
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


def _print_summary(annotations, rejects, counts):
    from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES as names

    cases = len({annotation.case_id for annotation in annotations})
    rois = sum(len(annotation.rois) for annotation in annotations)
    lines = {"photos": len(annotations), "cases": cases, "ROIs": rois}
    for name, count in {**lines, **counts, "rejected": len(rejects)}.items():
        print(f"{name:<30}{count:>8}")
    for reject in rejects[:5]:
        print(f"  {reject.item}: {reject.reason}")
    if len(rejects) > 5:
        print("  … all in rejects.csv")
    print("\nphotos by condition and Fitzpatrick skin type")
    conditions = sorted({annotation.condition for annotation in annotations})
    width = max(len(name) for name in ("all", *conditions)) + 2
    columns = [*range(1, len(names)), 0]
    print(f"{'':<{width}}" + "".join(f"{names[t]:>9}" for t in columns) + "      all")
    for name in (*conditions, "all"):
        of_name = [a.fitzpatrick for a in annotations if name in (a.condition, "all")]
        cells = [*(of_name.count(t) for t in columns), len(of_name)]
        print(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))


def _print_labels(report):
    print("\nlabels")
    label_width = max(len("label"), *(len(line.label) for line in report)) + 2
    width = max(len("condition"), *(len(line.condition) for line in report)) + 2
    print(
        f"{'label':<{label_width}}{'condition':<{width}}{'what':<10}"
        f"{'photos':>8}{'boxes':>8}"
    )
    for line in report:
        print(
            f"{line.label:<{label_width}}{line.condition:<{width}}{line.what:<10}"
            f"{line.photos:>8}{line.boxes:>8}"
        )


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
