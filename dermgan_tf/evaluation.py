"""Judges a generator on maps it was not trained on, and says how far to trust it.

Every map of a held-out split is painted once, with its position in the split as the
seed. The synthetic images are compared with the real ones that the maps were made from;
beside each distance stands the same distance between real images and other real ones.

`metrics.json` holds what `evaluate` returns (numbers are null where undefined):

    format_version   1
    generator        fingerprint of the weights, provenance as exported
    data             fingerprint, source, split, images (judged), images_in_split,
                     cases, image_size; conditions and skin_types: images by name, the
                     types as "0"…"6"
    embedding        name, features, image_size, fingerprint of the weights
    distances        synthetic_real, real_real: each with
                       compared             what with what, in words
                       images               images on each side
                       frechet_distance     of all of them
                       frechet_trials       mean, standard_deviation, interval_95,
                                            trials, sample_size: over random subsets
                       kernel_distance      unbiased, cubic kernel
                       precision, recall, density, coverage; neighbours (their k)
    skin_tone        synthetic, real: each with
                       spearman             of ITA with the requested type; −1 is best
                       interval_95          over resampled cases
                       images, cases        that it was measured on
                       unmeasured           images without enough visible skin
                     unknown_type (images whose map names no skin type: left out)
                     by_type: fitzpatrick, images, synthetic_ita, real_ita (medians, °)
    remarks          sentences that a reader of these numbers must know
"""

import dataclasses
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.stats

from dermgan_tf.contact_sheet import contact_sheet
from dermgan_tf.embeddings import Embedding
from dermgan_tf.errors import InputError
from dermgan_tf.generation import SavedGenerator
from dermgan_tf.metrics import (
    case_resamples,
    frechet_distance,
    frechet_trials,
    kernel_distance,
    percentile_interval,
    precision_recall,
)
from dermgan_tf.pairs import PairsInfo, read_pairs, read_pairs_info
from dermgan_tf.progress import silent
from dermgan_tf.semantic_map import Roi, roi_mask
from dermgan_tf.skin_tone import ita_degrees, skin_mask

FORMAT_VERSION = 1
MIN_IMAGES = 8  # halves of four: the fewest that all distances are defined for
BATCH_SIZE = 32
NEIGHBOURS = 3
SHEET_EXAMPLES = 16  # and at least one of each condition
EXAMPLES_A_ROW = 2
SKIN_TYPE_NAMES = ("unknown", "I", "II", "III", "IV", "V", "VI")
# A smaller share of visible skin outside the ROIs says nothing reliable of its colour.
MIN_SKIN_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What judging a generator gave.

    Args:
        metrics: dict of JSON values; see the module's docstring.
        sheet: np.uint8 [H, W, 3]. Held-out maps with their real and synthetic images.
    """

    metrics: dict[str, Any]
    sheet: np.ndarray


def evaluate(
    generator: SavedGenerator,
    data_dir: str | os.PathLike,
    embedding: Embedding,
    split: str = "test",
    trials: int = 50,
    max_images: int | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> Evaluation:
    """Judges a generator on a split of a pairs folder.

    Images are painted and embedded a batch at a time; only activations are kept.

    Args:
        generator: from `load_generator`.
        data_dir: a folder that `prepare_pairs` wrote.
        embedding: from `build_embedding`.
        split: the held-out split.
        trials: int ≥ 1. Random subsets that the Fréchet distances' intervals are of.
        max_images: int. At most so many pairs, drawn at random, are judged.
        seed: int. Of that draw, of the trials and of the bootstrap; an image's own seed
            is its position in the split.
        progress: see `dermgan_tf.progress`.

    Raises:
        InputError: if generator and pairs differ in vocabulary or image size, the split
            is missing or too small, or it holds a synthetic image.
    """
    info = read_pairs_info(data_dir)
    _require_fitting(generator, info, data_dir)
    if split not in info.counts:
        raise InputError(
            f"{os.fspath(data_dir)} has no split {split!r}; it has: "
            f"{', '.join(info.counts)}"
        )
    total = info.counts[split]
    count = total if max_images is None else min(total, max_images)
    if count < MIN_IMAGES:
        raise InputError(
            f"{count} images of split {split!r} are too few to judge by; "
            f"at least {MIN_IMAGES} are needed"
        )
    chosen = _drawn(total, count, seed)
    real, synthetic, facts = [], [], []
    examples = _Examples(per_condition=max(1, SHEET_EXAMPLES // len(info.vocabulary)))
    pairs = progress(
        _pairs_at(data_dir, split, chosen), total=count, desc="painting, embedding"
    )
    for batch in _batches(pairs):
        painted = generator.paint(
            np.stack([pair["semantic_map"] for _, pair in batch]),
            [index for index, _ in batch],
        )
        real.append(embedding.embed(pair["image"] for _, pair in batch))
        synthetic.append(embedding.embed(painted))
        for (index, pair), image in zip(batch, painted, strict=True):
            facts.append(
                {
                    "case": pair["case_id"],
                    "condition": pair["condition"],
                    "fitzpatrick": pair["fitzpatrick"],
                    "real_ita": _skin_ita(pair["image"], pair),
                    "synthetic_ita": _skin_ita(image, pair),
                }
            )
            examples.add(index, pair, image)
    real, synthetic = np.concatenate(real), np.concatenate(synthetic)
    draws = {"trials": trials, "seed": seed, "progress": progress}
    with warnings.catch_warnings():
        # Of few samples; a remark says it in the report.
        warnings.filterwarnings("ignore", message="Fréchet distance of")
        distances = {
            "synthetic_real": {
                "compared": f"synthetic images, real {split} images of the same maps",
                **_distances(synthetic, real, frechet_trials(synthetic, real, **draws)),
            },
            "real_real": _real_distances(info, data_dir, split, real, embedding, draws),
        }
    metrics = {
        "format_version": FORMAT_VERSION,
        "generator": {
            "fingerprint": generator.fingerprint,
            "provenance": generator.metadata.get("provenance", {}),
        },
        "data": {
            "fingerprint": info.fingerprint,
            "source": info.source,
            "split": split,
            "images": count,
            "images_in_split": total,
            "cases": len({fact["case"] for fact in facts}),
            "image_size": info.image_size,
            "conditions": _counted(fact["condition"] for fact in facts),
            "skin_types": _counted(str(fact["fitzpatrick"]) for fact in facts),
        },
        "embedding": {
            "name": embedding.name,
            "features": embedding.num_features,
            "image_size": list(embedding.image_size),
            "fingerprint": embedding.fingerprint,
        },
        "distances": distances,
        "skin_tone": _skin_tone(facts, seed),
    }
    metrics["remarks"] = _remarks(metrics)
    title = f"{split} maps of {info.source} data, and SYNTHETIC images of the same maps"
    return Evaluation(metrics, examples.sheet(title, info.source))


class _Examples:
    """The first few of each condition: enough for a sheet, and not chosen for looks."""

    def __init__(self, per_condition: int):
        self._per_condition = per_condition
        self._found = {}  # condition -> [(label, [map, real, synthetic])]

    def add(self, index: int, pair: dict[str, Any], synthetic: np.ndarray) -> None:
        found = self._found.setdefault(pair["condition"], [])
        if len(found) < self._per_condition:
            label = f"type {SKIN_TYPE_NAMES[pair['fitzpatrick']]}, seed {index}"
            found.append((label, [pair["semantic_map"], pair["image"], synthetic]))

    def sheet(self, title: str, source: str) -> np.ndarray:
        rows, labels = [], []
        for condition in sorted(self._found):
            found = self._found[condition]
            for start in range(0, len(found), EXAMPLES_A_ROW):
                row = found[start : start + EXAMPLES_A_ROW]
                rows.append([image for _, images in row for image in images])
                labels.append("\n".join([condition, *(label for label, _ in row)]))
        columns = ["map", source, "synthetic"] * EXAMPLES_A_ROW
        return contact_sheet(
            rows,
            row_labels=labels,
            column_labels=columns[: max(len(row) for row in rows)],
            title=title,
        )


def _require_fitting(generator: SavedGenerator, info: PairsInfo, data_dir) -> None:
    generator.vocabulary.require_equal(
        info.vocabulary, "the SavedModel", f"pairs folder {os.fspath(data_dir)}"
    )
    if generator.image_size != info.image_size:
        raise InputError(
            f"the SavedModel paints {generator.image_size} × {generator.image_size} "
            f"pixels, the pairs in {os.fspath(data_dir)} have {info.image_size}"
        )


def _drawn(total: int, count: int, seed: int) -> np.ndarray:
    """`count` of the positions 0 … total − 1, in order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def _pairs_at(
    data_dir, split: str, positions: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(position, pair) of the pairs at `positions`; none of them may be synthetic."""
    wanted = {int(position) for position in positions}
    for index, pair in enumerate(read_pairs(data_dir, split)):
        if index in wanted:
            if pair["source"] == "synthetic":
                raise InputError(
                    f"{os.fspath(data_dir)}: {pair['image_id']} of split {split!r} is "
                    "synthetic; synthetic images are judged against photographs only"
                )
            yield index, pair


def _batches(items: Iterable) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH_SIZE)):
        yield batch


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _real_distances(info, data_dir, split, real, embedding, draws) -> dict[str, Any]:
    """The distances of real images to other real ones, to read the others by.

    Other cases are the fair comparison, and the training split has them. Where it has
    too few, the split is cut in halves.
    """
    count = len(real)
    available = info.counts.get("train", 0)
    if split != "train" and available >= count:
        pairs = _pairs_at(data_dir, "train", _drawn(available, count, draws["seed"]))
        pairs = draws["progress"](pairs, total=count, desc="embedding train")
        other = np.concatenate(
            [embedding.embed(pair["image"] for _, pair in b) for b in _batches(pairs)]
        )
        return {
            "compared": f"real train images drawn at random, the real {split} images",
            **_distances(other, real, frechet_trials(other, real, **draws)),
        }
    half = count // 2
    mixed = real[np.random.default_rng(draws["seed"]).permutation(count)]
    return {
        "compared": f"random halves of the real {split} images",
        **_distances(
            mixed[:half], mixed[half : 2 * half], frechet_trials(real, **draws)
        ),
    }


def _distances(a: np.ndarray, b: np.ndarray, trials: dict[str, Any]) -> dict[str, Any]:
    """All distances of `a` from the reference `b`."""
    return {
        "images": len(a),
        "frechet_distance": frechet_distance(a, b),
        "frechet_trials": trials,
        "kernel_distance": kernel_distance(a, b),
        **precision_recall(real=b, synthetic=a, k=NEIGHBOURS),
        "neighbours": NEIGHBOURS,
    }


def _skin_ita(image: np.ndarray, pair: dict[str, Any]) -> float:
    """The median ITA, in degrees, of an image's skin outside the ROIs; NaN of none."""
    rois = [
        Roi(box.tolist(), name)
        for box, name in zip(pair["boxes"], pair["box_conditions"], strict=True)
    ]
    skin = skin_mask(image, rois) & (roi_mask(pair["semantic_map"])[..., 0] == 0)
    if skin.mean() < MIN_SKIN_SHARE:
        return float("nan")
    return float(np.median(ita_degrees(image[skin])))


def _skin_tone(facts: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """How ITA follows the requested skin type, in synthetic and in real images."""
    known = [fact for fact in facts if fact["fitzpatrick"] > 0]
    cases = np.array([fact["case"] for fact in known])
    types = np.array([fact["fitzpatrick"] for fact in known], int)
    itas = {
        kind: np.array([fact[f"{kind}_ita"] for fact in known], float)
        for kind in ("synthetic", "real")
    }
    return {
        **{kind: _obedience(types, ita, cases, seed) for kind, ita in itas.items()},
        "unknown_type": len(facts) - len(known),
        "by_type": [
            {
                "fitzpatrick": int(t),
                "images": int((types == t).sum()),
                **{
                    f"{kind}_ita": _median(ita[types == t])
                    for kind, ita in itas.items()
                },
            }
            for t in np.unique(types)
        ],
    }


def _obedience(types, ita, cases, seed) -> dict[str, Any]:
    measured = ~np.isnan(ita)
    types, ita, cases = types[measured], ita[measured], cases[measured]
    value = _spearman(types, ita)
    interval = None
    if not np.isnan(value) and len(np.unique(cases)) > 1:
        interval = percentile_interval(
            [_spearman(types[i], ita[i]) for i in case_resamples(cases, seed=seed)]
        )
    return {
        "spearman": None if np.isnan(value) else value,
        "interval_95": interval,
        "images": len(ita),
        "cases": len(np.unique(cases)),
        "unmeasured": int((~measured).sum()),
    }


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return float("nan")
    return float(scipy.stats.spearmanr(x, y).statistic)


def _median(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else None


def _remarks(metrics: dict[str, Any]) -> list[str]:
    data, embedding = metrics["data"], metrics["embedding"]
    distances, tone = metrics["distances"], metrics["skin_tone"]
    sample = distances["synthetic_real"]["frechet_trials"]["sample_size"]
    features = embedding["features"]
    remarks = [
        "Distances compare only with others of the same embedding, weights and number "
        "of images.",
        f"Intervals of Fréchet distances span random subsets of {sample} of these "
        "images. They do not tell what other patients would give.",
        "The synthetic images share skin types, conditions, sizes and places with the "
        "real ones that they are compared with; the real images of other cases do not. "
        "This favours the synthetic ones.",
    ]
    if data["split"] == "train":
        remarks.append("The maps are those of the training split: nothing is held out.")
    if sample <= features:
        remarks.append(
            f"{data['images']} images, {sample} a trial, are few for {features} "
            "features: all Fréchet distances here are far above what many images would "
            "give. Read synthetic against real only beside real against real."
        )
    if distances["real_real"]["images"] < data["images"]:
        remarks.append(
            "There are too few real images of other cases: real against real compares "
            "halves that show the same cases, which makes that distance too small."
        )
    if "phantom" in data["source"]:
        remarks.append(f"The data are {data['source']}: phantoms are drawn, not real.")
    trained_on = metrics["generator"]["provenance"].get("data_fingerprint")
    if trained_on != data["fingerprint"]:
        remarks.append(
            "The generator was not trained on the training split of these pairs, or "
            "does not tell: whether it has seen these cases cannot be known from here."
        )
    for kind in ("synthetic", "real"):
        if tone[kind]["spearman"] is None:
            remarks.append(
                f"How skin colour follows the type is undefined in the {kind} images: "
                "they show skin of fewer than two types, or all of one colour."
            )
    return remarks
