"""Turns a data set's labels into one's own conditions, and tells what became of them.

A label map is a file: CSV with two columns, theirs and ours (a first row
`label,condition` is a header), or a YAML or JSON mapping. An empty condition drops the
label.
"""

import csv
import dataclasses
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import main_condition
from dermgan_tf.photos.importers.tables import read_rows, read_text
from dermgan_tf.photos.vocabulary import composed

MAPPED, KEPT, LEFT_OUT, NOT_MET = "mapped", "kept", "left out", "not met"
REPORT_COLUMNS = ("label", "condition", "what", "photos", "boxes")


@dataclasses.dataclass(frozen=True)
class LabelCount:
    """What became of one label.

    Args:
        label: str. Theirs.
        condition: str. Ours; "" if left out.
        what: "mapped", "kept" (not in the map), "left out", or "not met" (in the map,
            but not in the data).
        photos: int. Photos of this label.
        boxes: int. Boxes of it.
    """

    label: str
    condition: str
    what: str
    photos: int
    boxes: int


def read_label_map(path: str | os.PathLike) -> dict[str, str]:
    """Reads a label map.

    Args:
        path: a file whose name ends in .csv, .yaml, .yml or .json.

    Returns:
        label -> condition, both stripped; "" drops the label.

    Raises:
        InputError: for a file of another kind, or a label with two conditions.
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower()
    if kind == ".csv":
        pairs = _csv_pairs(path)
    elif kind in (".yaml", ".yml", ".json"):
        pairs = _yaml_pairs(path)
    else:
        raise InputError(f"label map {path} is not a .csv, .yaml, .yml or .json file")
    labels: dict[str, str] = {}
    for label, condition in pairs:
        label, condition = composed(label.strip()), composed(condition.strip())
        if not label or not (label + condition).isprintable():
            raise InputError(f"{path}: {label!r} → {condition!r} cannot be shown")
        if labels.setdefault(label, condition) != condition:
            raise InputError(
                f"{path}: label {label!r} has two conditions, {labels[label]!r} and "
                f"{condition!r}"
            )
    if not labels:
        raise InputError(f"label map {path} is empty")
    return labels


def map_labels(
    annotations: Iterable[PhotoAnnotation],
    labels: Mapping[str, str],
    only_mapped: bool = False,
) -> tuple[list[PhotoAnnotation], list[LabelCount]]:
    """Renames conditions, and leaves out those that are dropped.

    A dropped label's boxes go; a photo goes when its own label is dropped and no box
    is left, or when it had boxes and has none left. A photo with boxes has the
    condition that they cover most of.

    Args:
        annotations: as imported.
        labels: see `read_label_map`. Labels must match exactly.
        only_mapped: bool. Drop labels that are not in the map; else they stay.

    Returns:
        (annotations, report): one line a label, those met first, in order of name.
    """
    annotations = list(annotations)
    photos = Counter(annotation.condition for annotation in annotations)
    boxes = Counter(roi.condition for a in annotations for roi in a.rois)

    def ours(label: str) -> str:
        return labels.get(label, "" if only_mapped else label)

    mapped = []
    for annotation in annotations:
        rois = tuple(
            dataclasses.replace(roi, condition=ours(roi.condition))
            for roi in annotation.rois
            if ours(roi.condition)
        )
        condition = main_condition(rois) if annotation.rois else None
        if condition is None:
            condition = ours(annotation.condition)
        if condition:
            mapped.append(
                dataclasses.replace(annotation, condition=condition, rois=rois)
            )
    report = []
    met = set(photos) | set(boxes)
    for label in [*sorted(met), *sorted(set(labels) - met)]:
        condition = ours(label)
        if label not in met:
            what = NOT_MET
        elif not condition:
            what = LEFT_OUT
        else:
            what = MAPPED if label in labels else KEPT
        report.append(LabelCount(label, condition, what, photos[label], boxes[label]))
    return mapped, report


def write_label_report(path: str | os.PathLike, report: Sequence[LabelCount]) -> None:
    """Writes label_report.csv: label, condition, what, photos, boxes."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(REPORT_COLUMNS)
        writer.writerows(dataclasses.astuple(line) for line in report)


def _csv_pairs(path: pathlib.Path) -> list[tuple[str, str]]:
    pairs = []
    for line, cells in read_rows(path):
        if not pairs and [c.strip().lower() for c in cells] == ["label", "condition"]:
            continue
        if len(cells) != 2:
            raise InputError(
                f"{path}: row {line} has {len(cells)} columns; want theirs,ours"
            )
        pairs.append((cells[0], cells[1]))
    return pairs


def _yaml_pairs(path: pathlib.Path) -> list[tuple[str, str]]:
    # JSON is YAML too. Of the nodes, not of the values: `no` stays a text, and a label
    # that stands twice is seen.
    import yaml

    try:
        node = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path} is not YAML or JSON: {text}") from None
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode) or not all(
        isinstance(part, yaml.ScalarNode) for pair in node.value for part in pair
    ):
        raise InputError(f"{path} is not a mapping of labels to conditions")
    empty = ("tag:yaml.org,2002:null",)
    return [
        (label.value, "" if condition.tag in empty else condition.value)
        for label, condition in node.value
    ]
