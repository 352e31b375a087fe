"""Judges a generator on maps it was not trained on, and says how far to trust it.

Every map of a held-out split is painted once, with its position in the split as the
seed. The synthetic images are compared with the real ones that the maps were made from;
beside each distance stands the same distance between real images and other real ones.
Then follows what distances do not tell: whether images obey their maps, differ from
each other, and differ from the training images.

`metrics.json` holds what `evaluate` returns; docs/metrics.md explains every number.
"""

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dermgan_tf.classifier.labelled_reading import labelled_crops
from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import paint_sheet
from dermgan_tf.generation.plan import plan_sweep
from dermgan_tf.judging.condition_recall import Judge, condition_recall, train_judge
from dermgan_tf.judging.distances import MIN_GROUP, grouped_distances, overall_distances
from dermgan_tf.judging.diversity import diversity
from dermgan_tf.judging.memorization import closest_sheet, memorization
from dermgan_tf.judging.placement_control import placement_control
from dermgan_tf.judging.skin_tone_control import ita_by_type, skin_tone_control
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.dermgan.served import SavedGenerator
from dermgan_tf.pairs.pairs import (
    PairsInfo,
    drawn_positions,
    read_pairs,
    read_pairs_at,
    read_pairs_info,
)
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.semantic_map import (
    MAX_SKIN_TYPE,
    SKIN_TYPE_NAMES,
    skin_type_code,
)
from dermgan_tf.progress import silent

FORMAT_VERSION = 2
MIN_IMAGES = 8  # halves of four: the fewest that all distances are defined for
BATCH_SIZE = 32
SHEET_EXAMPLES = 16  # and at least one of each condition
EXAMPLES_A_ROW = 2
SEEDS_SHOWN = 6
# Training photographs that the colours of the skin types are taken from: 100 of a type
# give its median ITA to about a degree.
MAX_COLOUR_IMAGES = 600
# Bytes of crops that the judge of conditions learns from, held in memory.
MAX_JUDGE_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What judging a generator gave.

    Args:
        metrics: dict of JSON values; see docs/metrics.md.
        sheets: np.uint8 [H, W, 3] by name: held_out_maps, skin_types, sizes,
            conditions, seeds, placement, closest_pairs. They show synthetic images, and
            photographs beside them.
    """

    metrics: dict[str, Any]
    sheets: dict[str, np.ndarray]


def evaluate(
    generator: SavedGenerator,
    data_dir: str | os.PathLike,
    embedding: Embedding,
    split: str = "test",
    trials: int = 50,
    max_images: int | None = None,
    max_train_images: int | None = None,
    max_scenes: int = 100,
    judge: Judge | None = None,
    judge_steps: int = 600,
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
        trials: int ≥ 1. Random subsets that the distances' intervals are of.
        max_images: int. At most so many pairs, drawn at random, are judged.
        max_train_images: int. At most so many training images, drawn at random, are
            compared with; copies of others are not found. None takes all.
        max_scenes: int ≥ 1. Scenes painted in variants, for the skin tone and for the
            place and size.
        judge: from `train_judge`, which has seen none of the split's cases. None trains
            one on the training split, of `judge_steps` steps.
        judge_steps: int ≥ 1.
        seed: int. Of all draws and of the bootstrap; an image's own seed is its
            position in the split.
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
    chosen = drawn_positions(total, count, seed)
    held_out_dir = (data_dir, split)

    def held_out() -> Iterator[dict[str, Any]]:
        return read_pairs(*held_out_dir)

    # === Painting, embedding ===
    real, synthetic, facts = [], [], []
    examples = _Examples(per_condition=max(1, SHEET_EXAMPLES // len(info.vocabulary)))
    pairs = progress(
        read_pairs_at(*held_out_dir, chosen), total=count, desc="painting, embedding"
    )
    for batch in _batches(pairs):
        painted = generator.paint(
            np.stack([pair["semantic_map"] for _, pair in batch]),
            [index for index, _ in batch],
        )
        real.append(embedding.embed(pair["image"] for _, pair in batch))
        synthetic.append(embedding.embed(painted))
        for (index, pair), image in zip(batch, painted, strict=True):
            facts.append(_facts(pair))
            examples.add(index, pair, image)
    real, synthetic = np.concatenate(real), np.concatenate(synthetic)
    train = _Train(data_dir, split, info, embedding, max_train_images, seed, progress)

    # === Distances ===
    draws = {"trials": trials, "seed": seed, "progress": progress}
    distances = {
        "overall": overall_distances(
            synthetic, real, train.activations, split, **draws
        ),
        **{
            f"by_{key}": grouped_distances(
                synthetic,
                real,
                [fact[key] for fact in facts],
                train.activations,
                [fact[key] for fact in train.facts],
                **draws,
            )
            for key in ("condition", "skin_type")
        },
    }

    # === Control, diversity, memory ===
    draws = {"seed": seed, "progress": progress}
    colours = ita_by_type(train.pairs(MAX_COLOUR_IMAGES))
    skin_tone = skin_tone_control(
        generator, held_out(), max_scenes, real_ita_by_type=colours, **draws
    )
    placement, placement_sheet = _placement(generator, held_out, max_scenes, draws)
    no_judge = None
    if judge is None:
        judge, no_judge = _trained_judge(info, data_dir, split, judge_steps, draws)
    condition = {"undefined": no_judge}
    if judge is not None:
        condition = condition_recall(generator, held_out(), judge, max_images, **draws)
    varied = diversity(generator, embedding, held_out(), train.pairs(), **draws)
    remembered = _memorization(generator, embedding, held_out, train, draws)
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
            "train_images": len(train.activations),
            "image_size": info.image_size,
            "conditions": _counted(fact["condition"] for fact in facts),
            "skin_types": _counted(str(fact["skin_type"]) for fact in facts),
        },
        "embedding": embedding.describe(),
        "distances": distances,
        "control": {
            "skin_tone": skin_tone,
            "placement": placement,
            "condition": condition,
        },
        "diversity": varied,
        "memorization": remembered,
    }
    metrics["remarks"] = _remarks(metrics)
    sheets = {
        "held_out_maps": examples.held_out_sheet(split, info.source),
        "skin_types": examples.skin_types_sheet(generator),
        "seeds": examples.seeds_sheet(generator, info.source),
        **{
            name: paint_sheet(generator, plan_sweep(kind, info.vocabulary, **fixed))
            for name, kind, fixed in (
                ("sizes", "size", {}),
                ("conditions", "condition", {"variants": SEEDS_SHOWN}),
            )
        },
    }
    if placement_sheet is not None:
        sheets["placement"] = placement_sheet
    if remembered["closest"]:
        sheets["closest_pairs"] = _closest_pairs(
            generator, remembered["closest"], held_out_dir, train
        )
    return Evaluation(metrics, sheets)


class _Train:
    """Training images as activations; photographs are read again when asked for."""

    def __init__(self, data_dir, split, info, embedding, max_images, seed, progress):
        self._data_dir = data_dir
        total = 0 if split == "train" else info.counts.get("train", 0)
        count = total if max_images is None else min(total, max_images)
        self._positions = drawn_positions(total, count, seed)
        self._seed = seed
        self.facts = []
        activations = [np.zeros((0, embedding.num_features), np.float32)]
        pairs = progress(self._read(), total=count, desc="embedding training images")
        for batch in _batches(pairs):
            activations.append(embedding.embed(pair["image"] for _, pair in batch))
            self.facts.extend(_facts(pair) for _, pair in batch)
        self.activations = np.concatenate(activations)

    @property
    def cases(self) -> list[str]:
        return [fact["case"] for fact in self.facts]

    def pairs(self, count: int | None = None) -> Iterator[dict[str, Any]]:
        """The training pairs, or `count` of them drawn at random."""
        positions = self._positions
        if count is not None and count < len(positions):
            positions = positions[drawn_positions(len(positions), count, self._seed)]
        return (pair for _, pair in self._read(positions))

    def images_at(self, rows: Iterable[int]) -> dict[int, np.ndarray]:
        """Photographs by their row in `activations`."""
        rows = {int(self._positions[row]): row for row in rows}
        return {rows[i]: pair["image"] for i, pair in self._read(sorted(rows))}

    def _read(self, positions=None) -> Iterator[tuple[int, dict[str, Any]]]:
        positions = self._positions if positions is None else positions
        return read_pairs_at(self._data_dir, "train", positions)


class _Examples:
    """The first few of each condition: enough for a sheet, and not chosen for looks."""

    def __init__(self, per_condition: int):
        self._per_condition = per_condition
        self._found = {}  # condition -> [(position, pair, synthetic image)]

    def add(self, index: int, pair: dict[str, Any], synthetic: np.ndarray) -> None:
        found = self._found.setdefault(pair["condition"], [])
        if len(found) < self._per_condition:
            found.append((index, pair, synthetic))

    def held_out_sheet(self, split: str, source: str) -> np.ndarray:
        rows, labels = [], []
        for condition in sorted(self._found):
            found = self._found[condition]
            for start in range(0, len(found), EXAMPLES_A_ROW):
                row = found[start : start + EXAMPLES_A_ROW]
                rows.append(
                    [
                        image
                        for _, pair, synthetic in row
                        for image in (pair["semantic_map"], pair["image"], synthetic)
                    ]
                )
                facts = [
                    f"type {SKIN_TYPE_NAMES[pair['fitzpatrick']]}, seed {index}"
                    for index, pair, _ in row
                ]
                labels.append("\n".join([condition, *facts]))
        columns = ["map", source, "synthetic"] * EXAMPLES_A_ROW
        return contact_sheet(
            rows,
            row_labels=labels,
            column_labels=columns[: max(len(row) for row in rows)],
            title=f"{split} maps of {source} data, and SYNTHETIC images of them",
        )

    def skin_types_sheet(self, generator: SavedGenerator) -> np.ndarray:
        def maps(pair):
            maps = np.repeat(pair["semantic_map"][np.newaxis], MAX_SKIN_TYPE, axis=0)
            for t, own in enumerate(maps, start=1):
                own[..., 0] = skin_type_code(t)
            return maps

        rows, labels = [], []
        for index, pair in self._first_of_each():
            painted = generator.paint(maps(pair), [index] * MAX_SKIN_TYPE)
            rows.append([pair["semantic_map"], *painted])
            labels.append(pair["condition"])
        return contact_sheet(
            rows,
            row_labels=labels,
            column_labels=["map", *SKIN_TYPE_NAMES[1:]],
            title="SYNTHETIC images of one seed a row, on six skin types",
        )

    def seeds_sheet(self, generator: SavedGenerator, source: str) -> np.ndarray:
        rows, labels = [], []
        for index, pair in self._first_of_each():
            seeds = range(index, index + SEEDS_SHOWN)
            maps = np.repeat(pair["semantic_map"][np.newaxis], SEEDS_SHOWN, axis=0)
            painted = generator.paint(maps, list(seeds))
            rows.append([pair["semantic_map"], pair["image"], *painted])
            labels.append(pair["condition"])
        columns = [f"seed {i + 1}" for i in range(SEEDS_SHOWN)]
        return contact_sheet(
            rows,
            row_labels=labels,
            column_labels=["map", source, *columns],
            title="SYNTHETIC images of one map a row, by seed",
        )

    def _first_of_each(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Of each condition one; of a single condition, as many as there are."""
        for condition in sorted(self._found):
            found = self._found[condition]
            for index, pair, _ in found[: 8 if len(self._found) == 1 else 1]:
                yield index, pair


def _facts(pair: dict[str, Any]) -> dict[str, Any]:
    return {
        "case": pair["case_id"],
        "condition": pair["condition"],
        "skin_type": pair["fitzpatrick"],
    }


def _placement(generator, held_out, max_scenes, draws):
    """(metrics, sheet); of pairs with several boxes each, neither."""
    if not any(len(pair["boxes"]) == 1 for pair in held_out()):
        return {"undefined": "no image of the split has exactly one box"}, None
    metrics, sheet = placement_control(generator, held_out(), max_scenes, **draws)
    return {"undefined": None, **metrics}, sheet


def _trained_judge(
    info, data_dir, split, steps, draws
) -> tuple[Judge | None, str | None]:
    """A judge that has not seen the split, or why there can be none."""
    if len(info.vocabulary) < 2:
        return None, f"{info.vocabulary.conditions[0]} is the only condition"
    if split != "test":
        return None, f"a judge would have seen the {split} split itself"
    for name in ("train", "validation"):
        if not info.counts.get(name):
            return None, f"there is no {name} split to make a judge from"
    most = MAX_JUDGE_BYTES // (3 * info.image_size**2)
    crops = [
        labelled_crops(data_dir, name, most, seed=draws["seed"])
        for name in ("train", "validation")
    ]
    return train_judge(*crops, steps=steps, **draws), None


def _memorization(generator, embedding, held_out, train, draws) -> dict[str, Any]:
    if not len(train.activations):
        why = "there are no other images, of a training split, to compare with"
        return {"memorised": None, "undefined": why, "closest": []}
    return memorization(
        generator, embedding, held_out(), train.activations, train.cases, **draws
    )


def _closest_pairs(generator, closest, held_out_dir, train) -> np.ndarray:
    positions = sorted({one["synthetic"] for one in closest})
    painted = {
        index: generator.paint(pair["semantic_map"][np.newaxis], [index])[0]
        for index, pair in read_pairs_at(*held_out_dir, positions)
    }
    photographs = train.images_at({one["train"] for one in closest})
    return closest_sheet(closest, painted, photographs)


def _require_fitting(generator: SavedGenerator, info: PairsInfo, data_dir) -> None:
    generator.vocabulary.require_equal(
        info.vocabulary, "the SavedModel", f"pairs folder {os.fspath(data_dir)}"
    )
    if generator.image_size != info.image_size:
        raise InputError(
            f"the SavedModel paints {generator.image_size} × {generator.image_size} "
            f"pixels, the pairs in {os.fspath(data_dir)} have {info.image_size}"
        )


def _batches(items: Iterable) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH_SIZE)):
        yield batch


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _remarks(metrics: dict[str, Any]) -> list[str]:
    data, embedding = metrics["data"], metrics["embedding"]
    distances = metrics["distances"]
    overall, features = distances["overall"], embedding["features"]
    sample = overall["synthetic_real"]["frechet_trials"]["sample_size"]
    remarks = [
        "Distances compare only with others of the same embedding, weights, resizing "
        "and number of images.",
        f"Intervals of distances span random subsets of {sample} of these images. They "
        "do not tell what other patients would give.",
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
            "give, and the extrapolation to endlessly many is not to be trusted. Read "
            "synthetic against real only beside real against real."
        )
    if overall["real_real"]["images"] < data["images"]:
        remarks.append(
            "There are too few real images of other cases: real against real compares "
            "halves that show the same cases, which makes that distance too small."
        )
    few = [
        row["group"] if key == "by_condition" else f"skin type {row['group'] or '?'}"
        for key in ("by_condition", "by_skin_type")
        for row in distances[key]
        if row["synthetic_real"] is None
    ]
    if few:
        remarks.append(
            f"Too few images (under {MIN_GROUP}) for distances of their own: "
            f"{', '.join(few)}."
        )
    if "phantom" in data["source"]:
        remarks.append(f"The data are {data['source']}: phantoms are drawn, not real.")
    trained_on = metrics["generator"]["provenance"].get("data_fingerprint")
    if trained_on != data["fingerprint"]:
        remarks.append(
            "The generator was not trained on the training split of these pairs, or "
            "does not tell: whether it has seen these cases, and whether it remembers "
            "images of its training, cannot be known from here."
        )
    if metrics["control"]["skin_tone"]["spearman"]["value"] is None:
        remarks.append(
            "How skin colour follows the type is undefined: "
            f"{metrics['control']['skin_tone']['spearman']['undefined']}."
        )
    return remarks
