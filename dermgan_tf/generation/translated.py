"""Applies a translator to photographs, and files what comes out with its provenance.

A folder of translated images holds

    images/000000.png   marked as synthetic in their PNG text; no other metadata
    masks/000000.png    where they were to change
    translated.jsonl    a line an image
    generated.jsonl     the same images for those who train on synthetic ones, where
                        that is safe: of patches, see `write_translated_patches`
    sheet.png           some of them: photo, mask, outcome, difference × 4
"""

import contextlib
import csv
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject, check_reject_fraction, write_rejects
from dermgan_tf.models.translation.model import DIRECTIONS
from dermgan_tf.models.translation.served import BATCH_SIZE, SavedTranslator
from dermgan_tf.models.translation.task import before_and_after
from dermgan_tf.pairs.patches import read_patches, read_patches_info, require_domain
from dermgan_tf.pairs.sources import MaskedPhoto, read_masked_photo
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.isolated_map import Lost, isolated_map, one_thread
from dermgan_tf.photos.masks import mask_rois
from dermgan_tf.photos.photo_io import encode_png, printable
from dermgan_tf.photos.vocabulary import HEALTHY
from dermgan_tf.progress import silent

SHEET_ROWS = 10
SHEET_COLUMNS = ("photo", "mask", "synthetic", "difference x 4")
SHEET_CELL = 192  # pixels; photos are shrunk to it, small patches enlarged
UNKNOWN_SKIN_TYPE = 0


def write_translated_photos(
    translator: SavedTranslator,
    photos: Sequence[MaskedPhoto],
    folder: str | os.PathLike,
    rejects: Sequence[Reject] = (),
    max_reject_fraction: float = 0.1,
    workers: int | None = None,
    progress: Callable = silent,
) -> dict[str, int]:
    """Translates photo files with their masks.

    Photos are decoded in processes of their own, so that one whose decoder crashes
    costs itself alone; one after the other is then painted. A photo with an empty mask
    comes out as it is. Image numbers are those of the photos in their order, without
    the bad ones. `sources.csv` tells which photo is which: for the owner alone, as is
    rejects.csv.

    Args:
        translator: from `load_translator`.
        photos: from `masked_photos`.
        folder: an existing, empty folder.
        rejects: bad items found before, to count and list along.
        max_reject_fraction: float, 0…1. The share of bad photos tolerated.
        workers: int ≥ 1. Processes that decode; None = one a CPU core.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of images, unchanged (those with an empty mask), rejected.

    Raises:
        TooManyRejects: an InputError that has them; also if no photo is usable.
    """
    folder, rejects = pathlib.Path(folder), list(rejects)
    work = functools.partial(read_masked_photo, translator.image_size)
    workers = max(1, min(workers or os.cpu_count() or 1, len(photos)))
    total, sources = len(photos) + len(rejects), []
    shown = _evenly(len(photos))
    with _TranslatedFolder(translator, folder) as written:
        outcomes = isolated_map(work, photos, workers, one_thread)
        with contextlib.closing(outcomes):
            read = progress(outcomes, total=len(photos), desc="translating")
            for number, (photo, outcome) in enumerate(zip(photos, read, strict=True)):
                if isinstance(outcome, Lost):
                    outcome = Reject(photo.name, outcome.reason)
                if isinstance(outcome, Reject):
                    rejects.append(outcome)
                    continue
                pixels, mask = outcome
                changed = translator.translate_photo(pixels, mask)
                written.add(pixels, mask, changed, {}, number in shown)
                sources.append(photo.name)
        check_reject_fraction(rejects, total, max_reject_fraction, "the photos")
    write_rejects(folder / "rejects.csv", rejects)
    with open(folder / "sources.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "photo"])
        rows.writerows((_image(i), printable(name)) for i, name in enumerate(sources))
    return {**written.counts(), "rejected": len(rejects)}


def write_translated_patches(
    translator: SavedTranslator,
    data_dir: str | os.PathLike,
    split: str,
    folder: str | os.PathLike,
    seed: int = 0,
    masks_per_patch: int = 1,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Translates the patches of a split.

    To remove, patches of pathology with their own masks. To add, healthy patches, on
    which masks of the same split's patches of pathology are laid.

    generated.jsonl, by which classifiers take images to train on, is written for the
    training split of the very patches that the translator was trained on, and no other:
    what stays of the photo outside the mask would bring held-out photos into training.
    Nor is it written for what adds one of several conditions: nothing says which.

    Args:
        translator: from `load_translator`.
        data_dir: a folder that `prepare_patches` wrote.
        split: "train", "validation" or "test".
        folder: an existing, empty folder.
        seed: int. Of which mask is laid where.
        masks_per_patch: int ≥ 1. To add: images made of each healthy patch.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of images, unchanged, and not_to_train_on: why there is no generated.jsonl,
        or None.

    Raises:
        InputError: for a folder that holds no patches or patches of another size, or an
            empty domain.
    """
    info = read_patches_info(data_dir)
    require_patch_size(translator, info.image_size, data_dir)
    examples = TranslationExamples(
        data_dir, split, translator.direction, seed, masks_per_patch
    )
    why_not = _not_to_train_on(translator, info.fingerprint, split)
    shown = _evenly(len(examples))
    with _TranslatedFolder(translator, folder, why_not is None) as written:
        waiting: list = []

        def work_off():
            photos = np.stack([example.photo for _, example in waiting])
            masks = np.stack([example.mask for _, example in waiting])
            changed = translator.translate(photos, masks)
            for (number, example), image in zip(waiting, changed, strict=True):
                told = {
                    "split": split,
                    "patch": example.patch,
                    "mask_patch": example.mask_patch,
                }
                if info.anonymized_ids:
                    told["case_id"] = example.case_id
                    told["mask_case_id"] = example.mask_case_id
                written.add(example.photo, example.mask, image, told, number in shown)
            waiting.clear()

        named = progress(examples, total=len(examples), desc="translating")
        for number, example in enumerate(named):
            waiting.append((number, example))
            if len(waiting) == BATCH_SIZE:
                work_off()
        if waiting:
            work_off()
    return {**written.counts(), "not_to_train_on": why_not}


def require_patch_size(
    translator: SavedTranslator, image_size: int, data_dir: str | os.PathLike
) -> None:
    """InputError for patches of another size than the translator's."""
    if image_size != translator.image_size:
        raise InputError(
            f"the translator paints {translator.image_size} × {translator.image_size} "
            f"pixels, the patches in {os.fspath(data_dir)} have {image_size}"
        )


def translated_rows(
    photos: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    changed: Sequence[np.ndarray],
    cell: int = SHEET_CELL,
) -> list[list[np.ndarray]]:
    """Rows as of `before_and_after`, shrunk to cells of a sheet, pixels a side."""
    return [
        [_shrunk(image, cell) for image in row]
        for row in before_and_after(photos, masks, changed)
    ]


class _TranslatedFolder:
    """Writes images as they come, and the lists and the sheet of them at the end."""

    def __init__(
        self,
        translator: SavedTranslator,
        folder: str | os.PathLike,
        to_train_on: bool = False,
    ):
        self._translator, self._folder = translator, pathlib.Path(folder)
        self._to_train_on = to_train_on
        self._count = self._unchanged = 0
        self._rows: list = []
        self._labels: list[str] = []

    def __enter__(self) -> "_TranslatedFolder":
        for name in ("images", "masks"):
            (self._folder / name).mkdir()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None and self._rows:
            self._write_sheet()

    def counts(self) -> dict[str, int]:
        return {"images": self._count, "unchanged": self._unchanged}

    def add(self, photo, mask, changed, told, shown: bool) -> None:
        """Files one image; `told` is what translated.jsonl says besides."""
        translator, asked = self._translator, bool(mask.any())
        condition = translator.condition if asked else None
        rois, _ = mask_rois(mask, "pathology", min_region_area=0.0)
        known = {
            "condition": condition,
            "fitzpatrick": UNKNOWN_SKIN_TYPE,
            "boxes": [list(roi.box) for roi in rois],
        }
        name = _image(self._count)
        facts = {
            "image": f"images/{name}",
            "mask": f"masks/{name}",
            "direction": translator.direction,
            "changed": asked,
            **known,
            "mask_share": float(mask.mean()),
            **told,
            "translator": translator.fingerprint,
            "source": "synthetic",
        }
        texts = {"changed": json.dumps(asked), "boxes": json.dumps(known["boxes"])}
        if condition is not None:
            texts["condition"] = condition
        png = encode_png(changed, translator.provenance(**texts))
        (self._folder / facts["image"]).write_bytes(png)
        png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
        (self._folder / facts["mask"]).write_bytes(png)
        self._list("translated.jsonl", facts)
        if self._to_train_on and asked:
            line = {
                "image": facts["image"],
                **known,
                "boxes": [] if condition == HEALTHY else known["boxes"],
                "generator": translator.fingerprint,
                "source": "synthetic",
            }
            self._list("generated.jsonl", line)
        if shown:
            self._rows += translated_rows([photo], [mask], [changed])
            self._labels.append(f"{self._count:06d}")
        self._count += 1
        self._unchanged += not asked

    def _list(self, name: str, line: dict[str, Any]) -> None:
        with open(self._folder / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _write_sheet(self) -> None:
        translator = self._translator
        sheet = contact_sheet(
            self._rows,
            row_labels=self._labels,
            column_labels=SHEET_COLUMNS,
            title=f"{translator.direction}, translator {translator.fingerprint[:8]}",
            cell=SHEET_CELL,
        )
        data = encode_png(sheet, translator.provenance(sheet="translated"))
        (self._folder / "sheet.png").write_bytes(data)


def _not_to_train_on(
    translator: SavedTranslator, fingerprint: str, split: str
) -> str | None:
    if split != "train":
        return f"these are patches of the {split} split"
    if translator.trained_on != fingerprint:
        return "the translator was trained on other patches than these"
    if translator.condition is None:
        return "the translator was trained on several conditions and adds one unnamed"
    return None


def _evenly(count: int) -> set[int]:
    """Positions that a sheet shows: spread over all, not chosen for looks."""
    shown = np.linspace(0, count - 1, min(SHEET_ROWS, count))
    return {int(position) for position in np.round(shown)}


def _shrunk(image: np.ndarray, cell: int) -> np.ndarray:
    scale = cell / max(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _image(number: int) -> str:
    return f"{number:06d}.png"


# By direction, the domain that is changed, and the one that it is to become.
SOURCE_DOMAIN = {"add": "healthy", "remove": "pathology"}
WANTED_DOMAIN = {"add": "pathology", "remove": "healthy"}


@dataclasses.dataclass(frozen=True)
class TranslationExample:
    """A patch, and where it is to change.

    Args:
        photo: np.uint8 [S, S, 3].
        mask: bool [S, S].
        patch: int. Its position in its domain of the split.
        mask_patch: int. The mask's, among the patches of pathology.
        case_id: str. The photo's case.
        mask_case_id: str. The mask's.
        twin: np.uint8 [S, S, 3], the true picture of what is asked for, or None.
    """

    photo: np.ndarray
    mask: np.ndarray
    patch: int
    mask_patch: int
    case_id: str
    mask_case_id: str
    twin: np.ndarray | None = None


class TranslationExamples:
    """The examples of a split, in the order of its patches; to be gone through often.

    Photos are read as they are needed; of masks all are held, a bit a pixel.

    Args:
        data_dir: a folder that `prepare_patches` wrote.
        split: "train", "validation" or "test".
        direction: "add" or "remove".
        seed: int. Of which mask is laid on which healthy patch: each is laid as often
            as any other, in an order that the seed draws.
        masks_per_patch: int ≥ 1. Masks that are laid on each healthy patch.
        positions: those of the patches that are taken; None = all.

    Raises:
        InputError: for a folder that holds no patches, an empty domain, or several
            masks where there is nothing to lay.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        split: str,
        direction: str,
        seed: int = 0,
        masks_per_patch: int = 1,
        positions: Sequence[int] | None = None,
    ):
        if direction not in DIRECTIONS:
            raise InputError(f"direction {direction!r}: want add or remove")
        if masks_per_patch < 1 or (masks_per_patch > 1 and direction == "remove"):
            raise InputError(
                f"{masks_per_patch} masks per patch: want 1 or more, and 1 to remove, "
                "which has its own mask"
            )
        info = read_patches_info(data_dir)
        domain = SOURCE_DOMAIN[direction]
        self._where = data_dir, split, domain
        self._total = info.counts[require_domain(data_dir, info, split, domain)]
        self._wanted = set(range(self._total) if positions is None else positions)
        self._each, self._masks = masks_per_patch, None
        if direction == "add":
            require_domain(data_dir, info, split, "pathology")
            self._masks = [
                (np.packbits(patch["mask"]), patch["case_id"])
                for patch in read_patches(data_dir, split, "pathology")
            ]
            self._order = mask_order(
                self._total * masks_per_patch, len(self._masks), seed
            )

    def __len__(self) -> int:
        return len(self._wanted) * self._each

    def __iter__(self) -> Iterator[TranslationExample]:
        for position, patch in enumerate(read_patches(*self._where)):
            if position not in self._wanted:
                continue
            photo, case = patch["image"], patch["case_id"]
            if self._masks is None:
                yield TranslationExample(
                    *(photo, patch["mask"], position, position, case, case),
                    patch["twin"],
                )
                continue
            for number in range(position * self._each, (position + 1) * self._each):
                which = int(self._order[number])
                packed, mask_case = self._masks[which]
                mask = np.unpackbits(packed, count=photo[..., 0].size).astype(bool)
                mask = mask.reshape(photo.shape[:2])
                yield TranslationExample(photo, mask, position, which, case, mask_case)


def mask_order(count: int, masks: int, seed: int) -> np.ndarray:
    """`count` of `masks` positions, each as often as any other, give or take one."""
    rng = np.random.default_rng(seed)
    rounds = -(-count // masks)
    return np.concatenate([rng.permutation(masks) for _ in range(rounds)])[:count]
