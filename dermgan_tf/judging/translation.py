"""Judges a translator on patches it was not trained on.

Outside the masks a photo must stay; inside them it must become what is asked for. What
stays is measured in levels; what changed by distances to real patches of the wanted
kind, by a classifier that learnt both kinds from photographs, against the true twin of
a drawn scene, and by a second translator that undoes the change.

`metrics.json` holds what `evaluate_translator` returns; docs/translation.md explains
every number.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.served import SavedClassifier
from dermgan_tf.errors import InputError
from dermgan_tf.generation.changes import PixelSums, inpainted, pixel_sums
from dermgan_tf.generation.translated import (
    SOURCE_DOMAIN,
    WANTED_DOMAIN,
    TranslationExample,
    TranslationExamples,
    require_patch_size,
    translated_rows,
)
from dermgan_tf.judging.distances import overall_distances, set_distances
from dermgan_tf.judging.intervals import interval_of, mean, share
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.translation.networks import border_width
from dermgan_tf.models.translation.served import SavedTranslator
from dermgan_tf.pairs.pairs import drawn_positions
from dermgan_tf.pairs.patches import PatchesInfo, read_patches, read_patches_info
from dermgan_tf.pairs.photographs import read_photographs_at
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.vocabulary import HEALTHY
from dermgan_tf.progress import silent

FORMAT_VERSION = 1
MIN_IMAGES = 8  # halves of four: the fewest that all distances are defined for
BATCH_SIZE = 32
SHEET_ROWS = 12


@dataclasses.dataclass(frozen=True)
class TranslatorEvaluation:
    """What judging a translator gave.

    Args:
        metrics: dict of JSON values; see docs/translation.md.
        sheets: np.uint8 [H, W, 3] by name: translated; cycle and twins where there are
            any. They show photographs beside synthetic images.
    """

    metrics: dict[str, Any]
    sheets: dict[str, np.ndarray]


def evaluate_translator(
    translator: SavedTranslator,
    data_dir: str | os.PathLike,
    embedding: Embedding,
    split: str = "test",
    inverse: SavedTranslator | None = None,
    classifier: SavedClassifier | None = None,
    trials: int = 50,
    max_images: int | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> TranslatorEvaluation:
    """Judges a translator on a split of a patches folder.

    Patches are translated as `TranslationExamples` gives them: to remove, those of
    pathology with their masks; to add, healthy ones under masks of the same split.

    Args:
        translator: from `load_translator`.
        data_dir: a folder that `prepare_patches` wrote.
        embedding: from `build_embedding`.
        split: the held-out split.
        inverse: that of the other direction, of a CycleGAN: what one of them does, the
            other has to undo.
        classifier: of the patches' conditions and healthy skin, trained on cases that
            are none of the split's.
        trials: int ≥ 1. Random subsets that the distances' intervals are of.
        max_images: int. At most so many patches of each domain, drawn at random.
        seed: int. Of all draws, of which mask is laid where, and of the bootstrap.
        progress: see `dermgan_tf.progress`.

    Raises:
        InputError: if translators and patches differ in size, `inverse` has the same
            direction, a domain of the split is empty, or the classifier does not know
            both kinds, has seen a case of the split, or was trained on images of the
            translator.
    """
    info = read_patches_info(data_dir)
    require_patch_size(translator, info.image_size, data_dir)
    if inverse is not None:
        require_patch_size(inverse, info.image_size, data_dir)
        if inverse.direction == translator.direction:
            raise InputError(
                f"both translators {translator.direction}: the inverse is the one of "
                "the other direction"
            )
    direction = translator.direction
    examples = _examples(data_dir, info, split, direction, max_images, seed)
    remarks = _remarks(translator, info, split)
    if classifier is not None:
        _require_both_kinds(classifier, info)
        remarks += _independence(classifier, translator, inverse, data_dir, split)

    # === Translating ===
    found = _Translated()
    with_cycle = inverse is not None
    shown = _Shown(len(examples))
    going = progress(examples, total=len(examples), desc="translating")
    for batch in _batches(going):
        photos, masks, changed = _translated(translator, batch)
        back = inverse.translate(changed, masks) if with_cycle else None
        found.add(batch, photos, masks, changed, back)
        found.look(photos, changed, embedding, classifier)
        shown.add(photos, masks, changed, back)

    # === Comparing ===
    wanted = _wanted(data_dir, info, split, direction, max_images, seed)
    real = _Real(wanted, embedding, classifier, progress)
    distances = _distances(
        found, real, data_dir, info, split, direction, embedding, trials, seed, progress
    )
    cycle = {"undefined": "no inverse translator was given"}
    if with_cycle:
        cycle = {
            "undefined": None,
            _cycle_name(direction): found.cycle(seed),
            _cycle_name(inverse.direction): _cycle(
                (inverse, translator),
                _examples(data_dir, info, split, inverse.direction, max_images, seed),
                seed,
                progress,
            ),
        }
    twins, twins_sheet = _twins(translator, data_dir, split, max_images, seed, progress)
    judged = {"undefined": "no classifier was given"}
    if classifier is not None:
        judged = _judged(classifier, direction, found, real)
    metrics = {
        "format_version": FORMAT_VERSION,
        "translator": _described(translator),
        "inverse": None if inverse is None else _described(inverse),
        "data": {
            "fingerprint": info.fingerprint,
            "source": info.source,
            "split": split,
            "translated_domain": SOURCE_DOMAIN[direction],
            "wanted_domain": WANTED_DOMAIN[direction],
            "images": len(found.cases),
            "cases": len(set(found.cases)),
            "wanted_images": len(real.cases),
            "wanted_cases": len(set(real.cases)),
            "image_size": info.image_size,
            "conditions": list(info.conditions),
        },
        "embedding": embedding.describe(),
        "change": found.change(seed),
        "cycle": cycle,
        "twins": twins,
        "distances": distances,
        "classifier": judged,
        "remarks": remarks,
    }
    if distances["undefined"]:
        metrics["remarks"].append(f"No distances: {distances['undefined']}.")
    sheets = {"translated": shown.sheet(translator)}
    if with_cycle:
        sheets["cycle"] = shown.cycle_sheet(translator, inverse)
    if twins_sheet is not None:
        sheets["twins"] = twins_sheet
    return TranslatorEvaluation(metrics, sheets)


class _Translated:
    """What is known of the translated patches; no pixels."""

    def __init__(self):
        self.cases: list[str] = []
        self._sums: dict[str, list[PixelSums]] = {}
        self._relevancy: list[np.ndarray] = []
        self._before: list[np.ndarray] = []
        self._after: list[np.ndarray] = []
        self.labels: dict[str, list[str]] = {"before": [], "translated": []}

    def add(self, batch, photos, masks, changed, back) -> None:
        self.cases += [example.case_id for example in batch]
        outside = pixel_sums(photos, changed, ~masks, power=2)
        area = 3 * np.maximum(outside.pixels, 1)
        # As `losses.relevancy_loss`, in its units: levels are 2/255 there.
        self._relevancy.append(3 * outside.totals / area / 127.5**2)
        border = border_width(masks.shape[1])
        parts = {
            "outside": (changed, ~masks),
            "beyond_border": (changed, ~_grown(masks, border)),
            "inside": (changed, masks),
        }
        if back is not None:
            parts |= {
                "cycle": (back, np.ones_like(masks)),
                "cycle_inside": (back, masks),
            }
        for name, (others, where) in parts.items():
            sums = pixel_sums(photos, others, where)
            self._sums.setdefault(name, []).append(sums)

    def look(self, photos, changed, embedding, classifier) -> None:
        self._before.append(embedding.embed(photos))
        self._after.append(embedding.embed(changed))
        if classifier is not None:
            self.labels["before"] += classifier.labels(photos)
            self.labels["translated"] += classifier.labels(changed)

    @property
    def before(self) -> np.ndarray:
        return np.concatenate(self._before)

    @property
    def after(self) -> np.ndarray:
        return np.concatenate(self._after)

    def change(self, seed: int) -> dict[str, Any]:
        return {
            **{
                name: _pixel_mean(self._sums[name], self.cases, seed)
                for name in ("outside", "beyond_border", "inside")
            },
            "relevancy": mean(np.concatenate(self._relevancy), self.cases, seed),
        }

    def cycle(self, seed: int) -> dict[str, Any]:
        return {
            "whole": _pixel_mean(self._sums["cycle"], self.cases, seed),
            "inside": _pixel_mean(self._sums["cycle_inside"], self.cases, seed),
        }


class _Real:
    """Real patches of the wanted domain, as activations and labels."""

    def __init__(self, patches, embedding, classifier, progress):
        self.cases: list[str] = []
        self.labels: list[str] = []
        activations = []
        going = progress(patches, total=len(patches), desc="real patches")
        for batch in _batches(going):
            images = [patch["image"] for patch in batch]
            self.cases += [patch["case_id"] for patch in batch]
            activations.append(embedding.embed(images))
            if classifier is not None:
                self.labels += classifier.labels(images)
        self.activations = np.concatenate(activations)


class _Wanted:
    """Some patches of a domain of a split; as long as there are."""

    def __init__(self, data_dir, split: str, domain: str, positions: Sequence[int]):
        self._where = data_dir, split, positions, domain

    def __len__(self) -> int:
        return len(self._where[2])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (patch for _, patch in read_photographs_at(*self._where))


class _Shown:
    """Some patches for the sheets, spread over all and not chosen for looks."""

    def __init__(self, total: int):
        places = np.linspace(0, total - 1, min(SHEET_ROWS, total))
        self._places = {int(place) for place in np.round(places)}
        self._seen = 0
        self._rows: list[list[np.ndarray]] = []
        self._cycle: list[list[np.ndarray]] = []

    def add(self, photos, masks, changed, back) -> None:
        for i in range(len(photos)):
            if self._seen + i in self._places:
                one = slice(i, i + 1)
                self._rows += translated_rows(photos[one], masks[one], changed[one])
                if back is not None:
                    (row,) = translated_rows(photos[one], masks[one], back[one])
                    _, _, returned, difference = row
                    photo, mask, there, _ = self._rows[-1]
                    self._cycle.append([photo, mask, there, returned, difference])
        self._seen += len(photos)

    def sheet(self, translator: SavedTranslator) -> np.ndarray:
        return _sheet(
            self._rows,
            ["photo", "mask", "synthetic", "difference x 4"],
            f"SYNTHETIC: {translator.direction}, {translator.fingerprint[:8]}",
        )

    def cycle_sheet(self, translator, inverse) -> np.ndarray:
        return _sheet(
            self._cycle,
            ["photo", "mask", translator.direction, f"then {inverse.direction}"]
            + ["difference of the first and the last x 4"],
            f"SYNTHETIC: {_cycle_name(translator.direction)}",
        )


def _examples(data_dir, info, split, direction, max_images, seed):
    positions = None
    total = info.counts.get(f"{split}_{SOURCE_DOMAIN[direction]}", 0)
    if max_images is not None and max_images < total:
        positions = drawn_positions(total, max_images, seed).tolist()
    return TranslationExamples(data_dir, split, direction, seed, positions=positions)


def _wanted(data_dir, info, split, direction, max_images, seed) -> _Wanted:
    domain = WANTED_DOMAIN[direction]
    total = info.counts.get(f"{split}_{domain}", 0)
    if not total:
        raise InputError(
            f"{os.fspath(data_dir)} has no {domain} patch in split {split!r} to "
            "compare with; prepare more photos, or take another split"
        )
    count = total if max_images is None else min(total, max_images)
    return _Wanted(data_dir, split, domain, drawn_positions(total, count, seed))


def _translated(
    translator: SavedTranslator, batch: Sequence[TranslationExample]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    photos = np.stack([example.photo for example in batch])
    masks = np.stack([example.mask for example in batch])
    return photos, masks, translator.translate(photos, masks)


def _distances(
    found, real, data_dir, info, split, direction, embedding, trials, seed, progress
) -> dict[str, Any]:
    """Of equally many patches: translated, and as they were, from real wanted ones."""
    count = min(len(found.cases), len(real.cases))
    if count < MIN_IMAGES:
        return {"undefined": f"{count} patches are too few; {MIN_IMAGES} are needed"}
    rows = drawn_positions(len(found.cases), count, seed)
    reference = real.activations[drawn_positions(len(real.cases), count, seed)]
    domain = WANTED_DOMAIN[direction]
    total = 0 if split == "train" else info.counts.get(f"train_{domain}", 0)
    positions = drawn_positions(total, min(total, count), seed)
    train = np.zeros((0, embedding.num_features), np.float32)
    if len(positions):
        patches = _Wanted(data_dir, "train", domain, positions)
        going = progress(patches, total=len(patches), desc="training patches")
        train = embedding.embed(patch["image"] for patch in going)
    draws = {"trials": trials, "seed": seed, "progress": progress}
    between = overall_distances(found.after[rows], reference, train, split, **draws)
    kind = f"real {split} patches of the {domain} domain"
    return {
        "undefined": None,
        "translated_real": {
            **between["synthetic_real"],
            "compared": f"translated patches, {kind}",
        },
        "before_real": {
            "compared": f"the same patches before, {kind}",
            **set_distances(found.before[rows], reference, count // 2, **draws),
        },
        "real_real": between["real_real"],
    }


def _cycle(translators, examples, seed: int, progress) -> dict[str, Any]:
    """Of the other way round: the inverse first, then the translator."""
    first, second = translators
    whole, inside, cases = [], [], []
    desc = _cycle_name(first.direction)
    for batch in _batches(progress(examples, total=len(examples), desc=desc)):
        photos, masks, changed = _translated(first, batch)
        back = second.translate(changed, masks)
        whole.append(pixel_sums(photos, back, np.ones_like(masks)))
        inside.append(pixel_sums(photos, back, masks))
        cases += [example.case_id for example in batch]
    return {
        "whole": _pixel_mean(whole, cases, seed),
        "inside": _pixel_mean(inside, cases, seed),
    }


def _twins(
    translator, data_dir, split: str, max_images: int | None, seed: int, progress
) -> tuple[dict[str, Any], np.ndarray | None]:
    """`translation_figures.twin_figures` with intervals, and a sheet."""
    known = _with_twin(data_dir, split, max_images)
    if next(known, None) is None:
        return {
            "undefined": "no patch has a twin: the test split of phantoms does"
        }, None
    removes = translator.direction == "remove"
    errors: dict[str, list[PixelSums]] = {}
    cases, rows = [], []
    going = progress(_with_twin(data_dir, split, max_images), desc="true twins")
    for batch in _batches(going):
        sick, healthy, masks = (
            np.stack([patch[name] for patch in batch])
            for name in ("image", "twin", "mask")
        )
        photos, truth = (sick, healthy) if removes else (healthy, sick)
        images = {"error": translator.translate(photos, masks), "unchanged": photos}
        if removes:
            images["telea"] = inpainted(photos, masks)
        for name, changed in images.items():
            sums = pixel_sums(truth, changed, masks)
            errors.setdefault(name, []).append(sums)
        cases += [patch["case_id"] for patch in batch]
        for i in range(min(len(batch), SHEET_ROWS - len(rows))):
            one = slice(i, i + 1)
            (row,) = translated_rows(photos[one], masks[one], images["error"][one])
            others = [images["telea"][i]] if removes else []
            rows.append([*row[:3], *others, truth[i]])
    columns = ["photo", "mask", "synthetic", *(["Telea"] * removes), "true twin"]
    return {
        "undefined": None,
        **{name: _pixel_mean(sums, cases, seed) for name, sums in errors.items()},
    }, _sheet(rows, columns, "SYNTHETIC beside the true twins of drawn scenes")


def _with_twin(data_dir, split, max_images) -> Iterator[dict[str, Any]]:
    patches = read_patches(data_dir, split, "pathology")
    known = (patch for patch in patches if patch["twin"] is not None)
    return itertools.islice(known, max_images)


def _judged(
    classifier: SavedClassifier, direction: str, found: _Translated, real: _Real
) -> dict[str, Any]:
    """Shares that are taken for the wanted kind."""

    def taken(labels: Sequence[str]) -> list[bool]:
        return [(label == HEALTHY) == (direction == "remove") for label in labels]

    names = [name for name in classifier.conditions if name != HEALTHY]
    return {
        "undefined": None,
        "fingerprint": classifier.fingerprint,
        "conditions": list(classifier.conditions),
        "wanted": names if direction == "add" else [HEALTHY],
        **{
            name: share(taken(labels), found.cases)
            for name, labels in found.labels.items()
        },
        "real": share(taken(real.labels), real.cases),
    }


def _require_both_kinds(classifier: SavedClassifier, info: PatchesInfo) -> None:
    missing = {HEALTHY, *info.conditions} - set(classifier.conditions)
    if missing:
        raise InputError(
            f"the classifier does not know {min(missing)!r}; it knows "
            f"{', '.join(classifier.conditions)}: train it on these patches "
            "(train_classifier --data_dir)"
        )


def _independence(classifier, translator, inverse, data_dir, split: str) -> list[str]:
    """Remarks on what cannot be told; InputError for a classifier that is partial."""
    painters = {one.fingerprint for one in (translator, inverse) if one is not None}
    if classifier.trained_on_images_of in painters:
        raise InputError(
            "the classifier was trained on images of this translator: it would know "
            "its hand; give one that was trained on photographs alone"
        )
    if classifier.trained_cases is None:
        return [
            "There is no classifier.json beside the classifier: whether it was trained "
            f"on cases of the {split} split cannot be told."
        ]
    cases = {
        patch["case_id"]
        for domain in SOURCE_DOMAIN.values()
        for patch in read_patches(data_dir, split, domain)
    }
    seen = classifier.trained_cases & set(trained_case_digests(cases))
    if seen:
        raise InputError(
            f"the classifier was trained on {len(seen)} of {len(cases)} cases of the "
            f"{split} split: it would remember them; train it on the train split of "
            "these patches"
        )
    return []


def _remarks(translator: SavedTranslator, info: PatchesInfo, split: str) -> list[str]:
    remarks = [
        "Distances compare only with others of the same embedding, weights, resizing "
        "and number of images.",
        "Outside the mask a translated patch is the photo: distances of whole patches "
        "are near to those before by that alone, and most of what is left of them may "
        "be other people and other places.",
        "A patch that looks healthy shows nothing of what was under the pathology.",
    ]
    if split == "train":
        remarks.append("The patches are those of the training split: none is held out.")
    if translator.trained_on != info.fingerprint:
        remarks.append(
            "The translator was not trained on the training split of these patches, or "
            "does not tell: whether it has seen these cases cannot be known from here."
        )
    if "phantom" in info.source:
        remarks.append(f"The data are {info.source}: phantoms are drawn, not real.")
    return remarks


def _described(translator: SavedTranslator) -> dict[str, Any]:
    return {
        "fingerprint": translator.fingerprint,
        "direction": translator.direction,
        "composed": translator.metadata.get("composed"),
        "provenance": translator.metadata["provenance"],
    }


def _cycle_name(first: str) -> str:
    return "add, then remove" if first == "add" else "remove, then add"


def _pixel_mean(
    parts: Sequence[PixelSums], cases: Sequence[str], seed: int
) -> dict[str, Any]:
    """The mean over pixels, in levels, with an interval over resampled cases."""
    totals = np.concatenate([part.totals for part in parts])
    pixels = np.concatenate([part.pixels for part in parts])

    def statistic(items) -> float:
        return PixelSums(totals[items], pixels[items]).mean()

    value = statistic(slice(None))
    return {
        "value": None if np.isnan(value) else value,
        "interval_95": interval_of(statistic, cases, seed),
        "images": len(cases),
        "cases": len(set(cases)),
    }


def _grown(masks: np.ndarray, border: int) -> np.ndarray:
    """Masks and all that is so near, in rows and columns."""
    square = np.ones((2 * border + 1,) * 2, np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), square) > 0 for mask in masks])


def _sheet(rows, columns, title) -> np.ndarray:
    return contact_sheet(rows, column_labels=columns, title=title)


def _batches(items: Iterable) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH_SIZE)):
        yield batch
