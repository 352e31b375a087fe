"""What an import tells of itself, in lines of text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dermgan_tf.errors import Reject
from dermgan_tf.photos.annotations import SPLITS, PhotoAnnotation, case_splits
from dermgan_tf.photos.importers.entries import SPLITS_NAMED
from dermgan_tf.photos.importers.labels import LabelCount
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES

_REJECTS_SHOWN = 5


def summary_lines(
    annotations: Sequence[PhotoAnnotation],
    rejects: Sequence[Reject],
    counts: Mapping[str, int],
) -> list[str]:
    """Counts, the first rejects, splits, and photos by condition and skin type.

    Args:
        annotations: with the splits that are kept.
        rejects: all of them.
        counts: of an importer.
    """
    cases = len({annotation.case_id for annotation in annotations})
    rois = sum(len(annotation.rois) for annotation in annotations)
    met = {"photos": len(annotations), "cases": cases, "ROIs": rois, **counts}
    width = max(30, *(len(name) + 2 for name in met))
    lines = [
        f"{name:<{width}}{count:>8}"
        for name, count in {**met, "rejected": len(rejects)}.items()
    ]
    lines += [f"  {one.item}: {one.reason}" for one in rejects[:_REJECTS_SHOWN]]
    if len(rejects) > _REJECTS_SHOWN:
        lines.append("  … all in rejects.csv")
    told = any(name.startswith(SPLITS_NAMED) for name in counts)
    lines += ["", *_split_lines(annotations, told)]
    lines += ["", "photos by condition and Fitzpatrick skin type"]
    conditions = sorted({annotation.condition for annotation in annotations})
    width = max(len(name) for name in ("all", *conditions)) + 2
    columns = [*range(1, len(SKIN_TYPE_NAMES)), 0]
    heads = "".join(f"{SKIN_TYPE_NAMES[t]:>9}" for t in columns)
    lines.append(f"{'':<{width}}{heads}      all")
    for name in (*conditions, "all"):
        of_name = [a.fitzpatrick for a in annotations if name in (a.condition, "all")]
        cells = [*(of_name.count(t) for t in columns), len(of_name)]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    return lines


def label_lines(report: Sequence[LabelCount]) -> list[str]:
    """The report of a label map as a table."""
    label_width = max(len("label"), *(len(line.label) for line in report)) + 2
    width = max(len("condition"), *(len(line.condition) for line in report)) + 2
    return [
        "labels",
        f"{'label':<{label_width}}{'condition':<{width}}{'what':<10}"
        f"{'photos':>8}{'boxes':>8}",
        *(
            f"{line.label:<{label_width}}{line.condition:<{width}}{line.what:<10}"
            f"{line.photos:>8}{line.boxes:>8}"
            for line in report
        ),
    ]


def estimation_lines(
    annotations: Sequence[PhotoAnnotation], errors: Mapping[str, Any]
) -> list[str]:
    """How many skin types were estimated, and how well, beside the plainest answer.

    Args:
        annotations: with the types that were filled in.
        errors: see `dermgan_tf.photos.skin_tone.estimated_types`.
    """
    sources = Counter(annotation.skin_type_source for annotation in annotations)
    unknown = sum(not annotation.fitzpatrick for annotation in annotations)
    lines = [
        f"skin type estimated for {sources['estimated']} photos, by the colour of skin"
    ]
    if unknown:
        lines.append(f"{unknown} photos show too little skin; their type stays unknown")
    usual, commonest = errors["usual"], errors["commonest"]
    if not usual["n"]:
        return [
            *lines,
            "no photo's skin type is known: the estimate's error is unknown",
        ]
    name = SKIN_TYPE_NAMES[commonest["type"]]
    lines += [
        f"against the {usual['n']} known types:",
        _error_line("usual limits of ITA", usual),
    ]
    if errors["fitted"]:
        lines.append(_error_line("limits fitted to other cases", errors["fitted"]))
    lines.append(_error_line(f"always type {name}, without looking", commonest))
    used = errors[errors["used"]]
    lines.append(f"used: the {errors['used']} limits")
    if used["mean_absolute_error"] >= commonest["mean_absolute_error"]:
        lines.append(
            f"no better than to say type {name} of every photo: do not compare skin "
            "types by these estimates"
        )
    return lines


def _split_lines(annotations: Sequence[PhotoAnnotation], told: bool) -> list[str]:
    named = Counter(annotation.split for annotation in annotations)
    of_case = case_splits(annotations)
    photos = Counter(of_case[annotation.case_id] for annotation in annotations)
    shown = ", ".join(f"{split} {photos[split]}" for split in SPLITS)
    if set(named) == {None} and told:
        how = "made by case: those named are all one, or are not kept"
    elif set(named) == {None}:
        how = "no split is named: they are made by case"
    elif None in named:
        how = f"{named[None]} photos are of no named split: theirs is made by case"
    else:
        how = "as named"
    return [f"photos per split: {shown} ({how})"]


def _error_line(name: str, error: Mapping[str, float]) -> str:
    return (
        f"  {name:<34}exact {error['exact']:>4.0%}, within one "
        f"{error['within_one']:>4.0%}, mean absolute error "
        f"{error['mean_absolute_error']:.2f} types, mean error "
        f"{error['mean_error']:+.2f} (+ is darker than known)"
    )
