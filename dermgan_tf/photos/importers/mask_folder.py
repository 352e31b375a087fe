"""Imports a folder of photos and a folder of masks: connected regions become ROIs."""

import os
import pathlib
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import Entry, Options, import_entries
from dermgan_tf.photos.importers.photo_index import PhotoIndex, Wanted, without_ending
from dermgan_tf.photos.importers.tables import Table
from dermgan_tf.photos.vocabulary import composed


def import_mask_folder(
    images_dir: str | os.PathLike,
    masks_dir: str | os.PathLike,
    condition: str,
    *,
    mask_suffix: str = "",
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads photos with masks of one condition.

    A photo `PATIENT/NAME.jpg` has the mask `PATIENT/NAME<mask_suffix>.<any image
    extension>`, or, if all masks lie in one folder, the only one of that name; see
    `dermgan_tf.photos.masks.read_mask`. A photo with an empty mask, or with specks
    alone, is kept without ROI: it can serve a classifier.

    Args:
        images_dir: the folder of photos.
        masks_dir: the folder of masks.
        condition: str. The condition of every photo and region.
        mask_suffix: str. What a mask's name has more than its photo's, e.g. "_mask".
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts): images relative to `images_dir`; photos without
        a usable mask, unreadable or synthetic ones are rejected.

    Raises:
        InputError: for a missing folder, one without photos, or a bad argument.
    """
    one_folder = os.path.realpath(images_dir) == os.path.realpath(masks_dir)
    if one_folder and not mask_suffix:
        raise InputError(
            f"photos and masks are in one folder, {images_dir}: say by mask_suffix how "
            "the masks' names differ"
        )
    settings = Options(**options)
    photos, masks = PhotoIndex(images_dir), PhotoIndex(masks_dir)
    suffix = composed(mask_suffix)
    images = [
        image
        for image in photos.images
        if not (one_folder and _stem(image).endswith(suffix))
    ]
    if not images:
        raise InputError(f"no photos in {images_dir}")
    found = masks_of(images, masks, mask_suffix)
    entries, rejects = [], []
    for image, mask in zip(images, found, strict=True):
        if isinstance(mask, InputError):
            rejects.append(Reject(image, str(mask)))
        else:
            photo = Wanted(image, (image,))
            entries.append(Entry(image, photo, condition, mask=mask))
    photos.name_all()
    counts = Counter(masks.loosely)
    unread, passed_over = masks.left_over()
    if not one_folder:
        counts += passed_over
        rejects += unread
    counts["specks ignored"] += 0
    counts["photos without ROI"] += 0
    counts["masks without photo"] = len(
        [mask for mask in masks.unnamed() if mask not in images or not one_folder]
    )
    return import_entries(entries, rejects, counts, photos, str(images_dir), settings)


def masks_of(
    images: Sequence[str], masks: PhotoIndex, mask_suffix: str = "", kind: str = "mask"
) -> list[pathlib.Path | InputError]:
    """The masks of photos: those of the same path, or else of the same name.

    Names are enough only if all photos or all masks lie in one folder.

    Args:
        images: the photos' paths below their folder.
        masks: the masks.
        mask_suffix: str. What a mask's name has more than its photo's.
        kind: str. What messages call a mask.

    Returns:
        Of each photo its mask, or an InputError if there is none, if there are several,
        or if it could be another photo's: no two photos share one.
    """
    first_of_stem: dict[str, str] = {}
    for image in images:
        first_of_stem.setdefault(_stem(image), image)
    # Only where photos or masks lie in one folder does a folder tell nothing.
    flat = not any("/" in name for name in images)
    flat = flat or not any("/" in name for name in masks.images)
    names = [
        Wanted(n, (n,), flat, False)
        for n in (_stem(i) + composed(mask_suffix) for i in images)
    ]
    found = masks.find_all(names)
    owners: dict[str, set[str]] = {}
    for image, mask in zip(images, found, strict=True):
        if isinstance(mask, str):
            owners.setdefault(mask, set()).add(first_of_stem[_stem(image)])
    results: list[pathlib.Path | InputError] = []
    for image, name, mask in zip(images, names, found, strict=True):
        first = first_of_stem[_stem(image)]
        if first != image:  # of 1.jpg and 1.png the mask cannot be told apart
            problem = f"has the same name as {first}"
        elif mask is None:
            problem = f"has no {kind} {posixpath.basename(name.name)}.*"
        elif isinstance(mask, InputError):
            problem = f"has no {kind} of its own: {mask}"
        elif len(owners[mask]) > 1:
            problem = f"has the same {kind} as another, {mask}"
        else:
            results.append(masks.folder / mask)
            continue
        results.append(InputError(problem))
    return results


def mask_finder(
    table: Table, column: str, masks: PhotoIndex, mask_suffix: str
) -> Callable[[str], pathlib.Path | None]:
    """Finds the masks of a table's photos, which are called like them, in any folder.

    Args:
        table: the table.
        column: the photos' names, with endings or without.
        masks: the masks; other images may be among them.
        mask_suffix: str. What a mask's name has more than its photo's.

    Returns:
        A function of a name that gives the mask, None if there is none, or raises
        InputError if there are several.
    """
    names = [without_ending(row[column]) for _, row in table.rows]
    names = list(dict.fromkeys(filter(None, names)))
    found = masks.find_all([Wanted(n + mask_suffix, (), True, False) for n in names])
    of_name = dict(zip(names, found, strict=True))

    def mask_of(name: str) -> pathlib.Path | None:
        mask = of_name.get(without_ending(name))
        if isinstance(mask, InputError):
            raise mask
        return masks.folder / mask if mask else None

    return mask_of


def _stem(image: str) -> str:
    return composed(posixpath.splitext(image)[0])
