"""Importers turn other people's formats into annotations; here is what they share.

An importer reads a folder and returns (annotations, rejects, counts): the photos that
can be used, with image paths relative to the folder of photos; what was left out and
why; and how many of what was met.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.isolated_map import Lost, isolated_map, one_thread
from dermgan_tf.photos.photo_io import read_photo
from dermgan_tf.photos.skin_tone import estimated_types, skin_ita
from dermgan_tf.photos.vocabulary import composed
from dermgan_tf.progress import silent

PHOTOS_FOLDER = "photos"


def place_photos(
    annotations: Sequence[PhotoAnnotation],
    photos_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    copy: bool = False,
) -> list[PhotoAnnotation]:
    """Puts the photos beside their annotations, in the folder `photos`.

    Annotations name photos inside their own folder, while the photos may lie in a place
    that cannot be written to. A link needs no space but breaks when the photos move.

    Args:
        annotations: with images relative to `photos_dir`.
        photos_dir: the folder of photos.
        output_dir: the annotations' folder, which exists.
        copy: bool. Copy the files instead of linking to them. Where links are not
            possible, files are copied anyway.

    Returns:
        The annotations with images relative to `output_dir`.
    """
    placed = []
    names = Counter(composed(annotation.image) for annotation in annotations)
    for annotation in annotations:
        source = os.path.abspath(os.path.join(photos_dir, annotation.image))
        name = composed(annotation.image)
        # Two photos may be called alike but for the form of their accents.
        image = f"{PHOTOS_FOLDER}/{name if names[name] == 1 else annotation.image}"
        target = pathlib.Path(output_dir, image)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not copy:
            try:
                target.symlink_to(source)
            except OSError:
                copy = True
        if copy:
            shutil.copyfile(source, target)
        placed.append(dataclasses.replace(annotation, image=image))
    return placed


def estimate_skin_types(
    annotations: Sequence[PhotoAnnotation],
    photos_dir: str | os.PathLike,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], dict[str, Any]]:
    """Fills in missing skin types from the photos' colours; known ones stay.

    Where enough types are known, the limits of ITA between types are fitted to them,
    and the fitted ones are used if they err less on the cases left out.

    Args:
        annotations: with images relative to `photos_dir`.
        photos_dir: the folder of photos.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `over_photos`.

    Returns:
        (annotations, errors): those filled in have the skin_type_source "estimated".
        The errors are those of `dermgan_tf.photos.skin_tone.estimation_errors` on the
        photos whose type was known.
    """
    find_ita = functools.partial(_ita, photos_dir)
    found = over_photos(
        find_ita, annotations, progress, "estimating skin types", crash_safe
    )
    for ita in found:
        if isinstance(ita, InputError):
            raise ita
    itas = [float("nan") if isinstance(ita, Lost) else ita for ita in found]
    types, errors = estimated_types(
        itas,
        [annotation.fitzpatrick for annotation in annotations],
        [annotation.case_id for annotation in annotations],
    )
    filled = [
        annotation
        if annotation.fitzpatrick or not estimated
        else dataclasses.replace(
            annotation, fitzpatrick=estimated, skin_type_source="estimated"
        )
        for annotation, estimated in zip(annotations, types, strict=True)
    ]
    return filled, errors


def _ita(
    photos_dir: str | os.PathLike, annotation: PhotoAnnotation
) -> float | InputError:
    try:
        photo = read_photo(os.path.join(photos_dir, annotation.image))
    except InputError as error:
        return error
    return skin_ita(photo, annotation.rois)


def over_photos(
    work: Callable[[Any], Any],
    items: Sequence,
    progress: Callable,
    desc: str,
    crash_safe: bool = False,
) -> list:
    """`[work(item) for item in items]`, on all cores.

    It is done by threads, as decoders leave Python free, or, if it is to be crash-safe,
    by processes: where a photo's decoder crashes its process, the item's result is a
    `dermgan_tf.photos.isolated_map.Lost`, and the rest are done. There `work` can be
    pickled, and a script needs `if __name__ == "__main__":`.

    Args:
        work: called with one item; must not share state between calls.
        items: what to call it with.
        progress: see `dermgan_tf.progress`.
        desc: what the progress bar says.
        crash_safe: bool.
    """
    if not crash_safe:
        return in_threads(work, items, progress, desc)
    workers = os.cpu_count() or 1
    with contextlib.closing(isolated_map(work, items, workers, one_thread)) as results:
        return list(progress(results, total=len(items), desc=desc))


def in_threads(
    function: Callable[[Any], Any], items: Sequence, progress: Callable, desc: str
) -> list:
    """`[function(item) for item in items]`, in as many threads as there are cores.

    Decoding and OpenCV let go of Python's lock, so that the threads do run together.

    Args:
        function: called with one item; must not share state between calls.
        items: what to call it with.
        progress: see `dermgan_tf.progress`.
        desc: what the progress bar says.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(function, items)
        try:
            return list(progress(results, total=len(items), desc=desc))
        finally:
            pool.shutdown(cancel_futures=True)  # on Ctrl-C do not work off the rest
