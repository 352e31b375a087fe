"""What will be hard about a data set, by its numbers, in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dermgan_tf.inspection.duplicates import LOOKALIKE
from dermgan_tf.inspection.numbers import SMALL_PHOTO, SMALL_ROI

FEW_PHOTOS = 50  # of a condition
FEW_CASES = 10  # of a condition
RARE_SKIN_TYPE = 0.02  # of the photos with a known type
_NAMED = 10  # conditions in one line


def hardships(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields {"about", "what"}, what a reader should see first.

    Args:
        numbers: as of `dermgan_tf.inspection.numbers.count`.
    """

    def told(about: str, what: str) -> dict[str, str]:
        return {"about": about, "what": what}

    if numbers["cases_in_several_splits"]:
        yield told(
            "leakage",
            f"cases in more than one split: {numbers['cases_in_several_splits']} "
            "(find_duplicates --dedupe puts each in one)",
        )
    yield from _hard_copies(numbers["duplicates"], told)
    for split, found in numbers["splits"].items():
        if not found["cases"]:
            yield told("splits", f"no case is in split {split}")
    rows = numbers["conditions"]
    for unit, enough in (("photos", FEW_PHOTOS), ("cases", FEW_CASES)):
        few = [f"{r['condition']} ({r[unit]})" for r in rows if r[unit] < enough]
        if few:
            yield told(
                "conditions",
                f"{len(few)} under {enough} {unit}: {_listed(few[::-1])}",
            )
    one_split = [
        row["condition"]
        for row in rows
        if sum(count > 0 for count in row["cases_by_split"].values()) == 1
    ]
    if one_split:
        yield told(
            "conditions", f"{len(one_split)} in one split only: {_listed(one_split)}"
        )
    yield from _hard_skin_types(numbers["skin_types"], told)
    rois, counts = numbers["rois"], numbers["counts"]
    images = counts["crops"] or counts["photos"]
    if rois["photos_without"]:
        yield told(
            "ROIs",
            f"photos without ROI: {rois['photos_without']} of {images}; they serve a "
            "classifier, not the GAN",
        )
    if rois["small"]:
        yield told(
            "ROIs",
            f"under {SMALL_ROI} pixels in a photo of 256 a side: {rois['small']} of "
            f"{rois['count']}",
        )
    if numbers["resolutions"]["small"] and not counts["crops"]:  # crops were asked for
        yield told(
            "resolution",
            f"photos under {SMALL_PHOTO} pixels a side: "
            f"{numbers['resolutions']['small']} of {images}",
        )
    if len(numbers["sources"]) > 1:
        mixed = (f"{name} {count}" for name, count in numbers["sources"].items())
        yield told("sources", f"mixed: {', '.join(mixed)}")
    if counts["rejected"]:
        yield told(
            "files",
            f"bad items that were left out: {counts['rejected']}, see rejects.csv",
        )


def _hard_copies(
    copies: Mapping[str, Any], told: Callable[[str, str], dict[str, str]]
) -> Iterator[dict[str, str]]:
    if copies["groups_across_splits"]:
        yield told(
            "leakage",
            "groups of copies in more than one split: "
            f"{copies['groups_across_splits']}; what is trained on is tested on "
            "(find_duplicates --dedupe puts their cases in one)",
        )
    elif copies["groups_across_cases"]:
        yield told(
            "duplicates",
            f"groups of copies in several cases: {copies['groups_across_cases']}",
        )
    if copies["groups_of_several_conditions"]:
        yield told(
            "labels",
            "groups of copies said to show different conditions: "
            f"{copies['groups_of_several_conditions']}",
        )
    if copies["lookalike_pairs_across_cases"]:
        yield told(
            "leakage",
            "pairs of photos of different cases that look alike: "
            f"{copies['lookalike_pairs_across_cases']}; the same patients again? "
            f"(find_duplicates --min_similarity={LOOKALIKE:g} shows them)",
        )


def _hard_skin_types(
    rows: Sequence[Mapping[str, Any]], told: Callable[[str, str], dict[str, str]]
) -> Iterator[dict[str, str]]:
    unknown, photos = rows[0]["photos"], sum(row["photos"] for row in rows)
    if unknown:
        yield told("skin types", f"unknown for {unknown} of {photos} photos")
    if unknown == photos:
        return
    absent = [row["name"] for row in rows[1:] if not row["photos"]]
    if absent:
        yield told("skin types", f"no photo of type {_listed(absent)}")
    rare = [
        f"{row['name']} ({row['photos']})"
        for row in rows[1:]
        if row["photos"] and row["share_of_known"] < RARE_SKIN_TYPE
    ]
    if rare:
        yield told("skin types", f"under 2 % of those known: type {_listed(rare)}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
