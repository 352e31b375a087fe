"""Imports photos that lie in a folder for each condition, for classifiers."""

import os
from collections.abc import Callable

from dermgan_tf.classifier.labelled_sources import open_source
from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import Entry, open_entries
from dermgan_tf.progress import silent


def import_class_folders(
    folder: str | os.PathLike,
    *,
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads CLASS/photo or SPLIT/CLASS/photo, just as the classifier's trainer does.

    There are no boxes and no skin types. See `labelled_sources.open_source` for the
    splits (train, val or validation, test; missing ones are cut off train).

    Args:
        folder: the folder.
        case_pattern: regular expression that finds the case in a photo's name, or, if
            it has a `/`, in its path; by default photos of one name are one case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: for a folder of another form, or a case in two splits.
    """
    if not os.path.isdir(folder):
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    source = open_source(os.path.abspath(folder), case_pattern)
    entries = [
        Entry(
            photo.image_id,
            photo.image_id,
            photo.case_id,
            photo.condition,
            # CLASS/photo names no split: it stays open.
            split=photo.split if photo.image_id.count("/") == 2 else None,
        )
        for photo in source.photos
    ]
    annotations, rejects, counts = open_entries(
        entries, folder, progress=progress, crash_safe=crash_safe
    )
    return annotations, [*source.rejects, *rejects], dict(counts)
