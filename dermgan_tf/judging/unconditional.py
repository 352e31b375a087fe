"""Judges images painted from noise against photographs that were not trained on.

The distances, and the tests of memory, are those of `dermgan_tf.judging.dermgan`; there
are no maps to obey. docs/metrics.md explains the numbers.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import sheet_cell
from dermgan_tf.generation.seeds import (
    film_strips,
    paint_seeds,
    require_truncation,
    seeds_sheet,
)
from dermgan_tf.judging.distances import overall_distances
from dermgan_tf.judging.memorization import closest_sheet, memorization
from dermgan_tf.judging.overfitting import overfitting
from dermgan_tf.metrics import nearest_neighbours
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.unconditional.served import UnconditionalGenerator
from dermgan_tf.pairs.pairs import drawn_positions
from dermgan_tf.pairs.photographs import (
    PhotographsInfo,
    read_photographs,
    read_photographs_at,
    read_photographs_info,
)
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.square import TURNS, turn_back, turned
from dermgan_tf.progress import silent

FORMAT_VERSION = 1
MIN_IMAGES = 8  # halves of four: the fewest that all distances are defined for
BATCH_SIZE = 32
SEEDS_SHOWN = 32
STRIPS_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class UnconditionalEvaluation:
    """What judging a generator gave.

    Args:
        metrics: dict of JSON values, as of `evaluate_unconditional`.
        sheets: np.uint8 [H, W, 3] by name: seeds, strips, and closest_pairs where there
            are training photographs.
    """

    metrics: dict[str, Any]
    sheets: dict[str, np.ndarray]


def evaluate_unconditional(
    generator: UnconditionalGenerator,
    data_dir: str | os.PathLike,
    embedding: Embedding,
    split: str = "test",
    domain: str | None = None,
    train_data_dir: str | os.PathLike | None = None,
    truncation: float = 1.0,
    trials: int = 50,
    max_images: int | None = None,
    max_train_images: int | None = None,
    max_scenes: int = 500,
    seed: int = 0,
    discriminator: Callable | None = None,
    progress: Callable = silent,
) -> UnconditionalEvaluation:
    """Judges a generator on a split of photographs.

    Args:
        generator: from `load_unconditional`.
        data_dir: a folder of pairs or patches.
        embedding: from `build_embedding`.
        split: the held-out split.
        domain: "healthy" or "pathology", of patches.
        train_data_dir: the folder that it was trained on, where that is another.
        truncation: float, 0…1.
        trials: int ≥ 1. Random subsets that the distances' intervals are of.
        max_images: int. At most so many photographs, drawn at random, and as many
            synthetic images are compared.
        max_train_images: int. At most so many training photographs, drawn at random,
            are compared with; copies of others are not found. None takes all.
        max_scenes: int ≥ 1. Images and held-out photographs that memory is judged by.
        seed: int. Of all draws. The images' own seeds count up from 0.
        discriminator: of the same run, as from `load_run_discriminator`: is asked
            whether it knows its training photographs by heart.
        progress: see `dermgan_tf.progress`.

    Returns:
        Metrics: format_version, generator, data, truncation, embedding; distances, as
        of `judging.distances.overall_distances`; memorization, as of
        `judging.memorization.memorization`, and overfitting, as of
        `judging.overfitting.overfitting`, of as many training photographs at most:
        None without training photographs, or without a discriminator.

    Raises:
        InputError: if generator and photographs differ in size, the split is missing
            or too small, it holds a synthetic image, or the generator was trained on
            other data than `train_data_dir`.
    """
    require_truncation(truncation)
    info = read_photographs_info(data_dir, domain)
    train_data_dir = train_data_dir or data_dir
    train_info = read_photographs_info(train_data_dir, domain)
    _require_fitting(generator, info, data_dir, train_info, train_data_dir)
    count = _count(info, data_dir, split, max_images)
    chosen = drawn_positions(info.counts[split], count, seed)
    held_out_at = data_dir, split, chosen, domain
    held_out = read_photographs_at(*held_out_at)
    real = _embedded(
        progress(
            (photograph["image"] for _, photograph in held_out),
            total=count,
            desc="embedding photographs",
        ),
        embedding,
    )
    images = (image for _, image in paint_seeds(generator, range(count), truncation))
    synthetic = _embedded(
        progress(images, total=count, desc="painting, embedding"), embedding
    )
    train = _Train(
        *(train_data_dir, domain, split, train_info),
        *(embedding, max_train_images, seed, progress),
    )
    distances = overall_distances(
        *(synthetic, real, train.activations, split),
        trials=trials,
        seed=seed,
        progress=progress,
    )
    # Nothing pairs them here.
    distances["synthetic_real"]["compared"] = (
        f"synthetic images, as many real {split} images"
    )
    remembered, sheets = None, {}
    if len(train.activations):
        remembered = memorization(
            _WithoutMaps(generator, truncation),
            embedding,
            _with_maps(read_photographs(data_dir, split, domain=domain)),
            train.activations,
            train.cases,
            max_scenes=max_scenes,
            seed=seed,
            progress=progress,
        )
        sheets["closest_pairs"] = _closest_pairs(
            generator, truncation, remembered["closest"], train
        )
    known = None
    if discriminator and len(train.activations):
        known = _overfitting(
            discriminator,
            train.some(count, seed),
            [found for _, found in read_photographs_at(*held_out_at)],
            paint_seeds(generator, range(count), truncation),
            seed,
        )
    metrics = {
        "format_version": FORMAT_VERSION,
        "generator": {
            "fingerprint": generator.fingerprint,
            "provenance": generator.metadata.get("provenance", {}),
        },
        "data": {
            "fingerprint": info.fingerprint,
            "source": info.source,
            "domain": info.domain,
            "split": split,
            "images": count,
            "images_in_split": info.counts[split],
            "train_fingerprint": train_info.fingerprint,
            "train_images": len(train.activations),
            "image_size": info.image_size,
        },
        "truncation": truncation,
        "embedding": embedding.describe(),
        "distances": distances,
        "memorization": remembered,
        "overfitting": known,
    }
    sheets |= {
        "seeds": seeds_sheet(generator, range(SEEDS_SHOWN), truncation),
        "strips": film_strips(
            generator, range(STRIPS_SHOWN + 1), truncation=truncation
        ),
    }
    return UnconditionalEvaluation(metrics, sheets)


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """What a program prints of metrics: lines for people."""
    data, distances = metrics["data"], metrics["distances"]
    lines = [
        f"{data['images']} {data['split']} photographs ({data['source']}), as many "
        f"synthetic images, truncation {metrics['truncation']:g}; embedding "
        f"{metrics['embedding']['name']}"
    ]
    for name in ("synthetic_real", "real_real"):
        part = distances[name]
        trials = part["frechet_trials"]
        low, high = trials["interval_95"]
        lines.append(
            f"{part['compared']}: Fréchet {trials['mean']:.4g} ({low:.4g} to "
            f"{high:.4g}; {trials['trials']} trials of {trials['sample_size']}), "
            f"kernel {part['kernel_distance']:.4g}, precision {part['precision']:.3f}, "
            f"recall {part['recall']:.3f}"
        )
    memory = metrics["memorization"]
    if memory is None:
        return [*lines, "memory: not judged, there are no training photographs"]
    near = memory["distance"]["synthetic"]
    lines.append(
        f"nearer to one of {memory['train_images']} training photographs than 1 % of "
        f"held-out ones: {near['hits']} of {near['total']} synthetic images, "
        f"{memory['copies']} copies; "
        + (memory["undefined"] or f"memorised: {memory['memorised']}")
    )
    if known := metrics["overfitting"]:
        taken = known["taken_for_photographs"]
        train, held_out, synthetic = (
            f"{taken[kind]['value']:.1%}" for kind in ("train", "held_out", "synthetic")
        )
        value, interval = known["r_v"]["value"], known["r_v"]["interval_95"]
        ratio = "undefined" if value is None else f"{value:.2f}"
        if interval:
            ratio += f" ({interval[0]:.2f} to {interval[1]:.2f})"
        lines.append(
            f"the discriminator takes for photographs: {train} of "
            f"{taken['train']['total']} it was trained on, {held_out} of held-out "
            f"ones, {synthetic} of synthetic images; r_v (1: knows them by heart) "
            f"{ratio}"
        )
    return lines


class _WithoutMaps:
    """The generator as what judges memory takes it: with maps, which are not read."""

    def __init__(self, generator: UnconditionalGenerator, truncation: float):
        self._generator = generator
        self._truncation = truncation
        self.image_size = generator.image_size

    def paint(self, semantic_maps, seeds):
        return self._generator.paint(seeds, self._truncation)


def _with_maps(photographs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for photograph in photographs:
        yield {**photograph, "semantic_map": photograph["image"]}


class _Train:
    """Training photographs as activations; some are read again when asked for."""

    def __init__(
        self, data_dir, domain, split, info, embedding, max_images, seed, progress
    ):
        self._where = data_dir, domain
        total = 0 if split == "train" else info.counts.get("train", 0)
        count = total if max_images is None else min(total, max_images)
        self._positions = drawn_positions(total, count, seed)
        self.cases: list[str] = []
        photographs = progress(
            self._read(self._positions), total=count, desc="embedding training images"
        )
        self.activations = np.zeros((0, embedding.num_features), np.float32)
        if count:
            self.activations = _embedded(self._images(photographs), embedding)

    def some(self, count: int, seed: int) -> list[dict[str, Any]]:
        """At most `count` of the photographs, drawn at random."""
        rows = drawn_positions(len(self._positions), count, seed)
        return [found for _, found in self._read(self._positions[rows])]

    def images_at(self, rows: Iterable[int]) -> dict[int, np.ndarray]:
        """Photographs by their row in `activations`."""
        rows = {int(self._positions[row]): row for row in rows}
        return {rows[i]: found["image"] for i, found in self._read(sorted(rows))}

    def _images(self, photographs) -> Iterator[np.ndarray]:
        for _, photograph in photographs:
            self.cases.append(photograph["case_id"])
            yield photograph["image"]

    def _read(self, positions):
        data_dir, domain = self._where
        return read_photographs_at(data_dir, "train", positions, domain)


def _overfitting(discriminator, train, held_out, painted, seed) -> dict[str, Any]:
    """Of photographs, and of (seed, image) painted."""
    synthetic = [
        {"image": image, "case_id": f"seed {number}"} for number, image in painted
    ]
    kinds = {"train": train, "held_out": held_out, "synthetic": synthetic}
    logits, cases = {}, {}
    for kind, found in kinds.items():
        images = np.stack([one["image"] for one in found])
        batches = (
            images[start : start + BATCH_SIZE].astype(np.float32) / 127.5 - 1
            for start in range(0, len(images), BATCH_SIZE)
        )
        logits[kind] = np.concatenate(
            [np.asarray(discriminator(batch))[:, 0] for batch in batches]
        )
        cases[kind] = [one["case_id"] for one in found]
    return overfitting(logits, cases, seed)


def _embedded(images: Iterable[np.ndarray], embedding: Embedding) -> np.ndarray:
    return embedding.embed(images, BATCH_SIZE)


def _closest_pairs(generator, truncation, closest, train: _Train) -> np.ndarray:
    seeds = [one["synthetic"] for one in closest]
    return closest_sheet(
        closest,
        dict(paint_seeds(generator, seeds, truncation)),
        train.images_at(one["train"] for one in closest),
    )


def _count(info: PhotographsInfo, data_dir, split: str, max_images: int | None) -> int:
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
    return count


def _require_fitting(generator, info, data_dir, train_info, train_data_dir) -> None:
    if info.image_size != generator.image_size:
        raise InputError(
            f"the generator paints {generator.image_size} × {generator.image_size} "
            f"pixels, {os.fspath(data_dir)} has {info.image_size}"
        )
    trained_on = generator.metadata["provenance"].get("data_fingerprint")
    if trained_on not in (None, train_info.fingerprint):
        raise InputError(
            f"the generator was trained on data {str(trained_on)[:8]}, not on "
            f"{os.fspath(train_data_dir)} ({train_info.fingerprint[:8]}): name its "
            "folder as train_data_dir"
        )


def nearest_sheet(
    generator: UnconditionalGenerator,
    seeds: Sequence[int],
    photographs: Callable[[], Iterable[np.ndarray]],
    embedding: Embedding,
    truncation: float = 1.0,
    neighbours: int = 4,
    progress: Callable = silent,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The training photographs nearest to images, beside them.

    Training turns and flips its photographs, so each image is compared in all eight
    positions of the square; photographs are shown turned as they fit.

    Args:
        generator: the loaded generator.
        seeds: ints, a row of the sheet each.
        photographs: gives np.uint8 [S, S, 3], the same ones at each call; it is called
            twice, so that no more than those shown are held.
        embedding: what nearness is measured in.
        truncation: float, 0…1.
        neighbours: int ≥ 1. Photographs a row.
        progress: see `dermgan_tf.progress`.

    Returns:
        (sheet np.uint8 [H, W, 3], found): found is a dict for each seed, of seed,
        photographs (places among those given) and distances, nearest first.
    """
    require_truncation(truncation)
    known = embedding.embed(progress(photographs(), desc="embedding photographs"))
    neighbours = min(neighbours, len(known))
    found, images = [], {}
    for seed, image in paint_seeds(generator, seeds, truncation):
        images[seed] = image
        positions = embedding.embed(turned(image, turn) for turn in TURNS)
        found.append({"seed": seed, **_nearest(positions, known, neighbours)})
    wanted = {place for one in found for place in one["photographs"]}
    shown = {i: photo for i, photo in enumerate(photographs()) if i in wanted}
    rows = [
        [
            images[one["seed"]],
            *(
                turned(shown[place], turn_back(turn))
                for place, turn in zip(one["photographs"], one["turns"], strict=True)
            ),
        ]
        for one in found
    ]
    sheet = contact_sheet(
        rows,
        row_labels=[f"seed {one['seed']}\n{one['distances'][0]:.3g}" for one in found],
        column_labels=["synthetic", *(f"nearest {i + 1}" for i in range(neighbours))],
        title=f"SYNTHETIC images, and the training photographs nearest to them by "
        f"{embedding.name}",
        cell=sheet_cell(generator.image_size),
    )
    return sheet, found


def _nearest(positions: np.ndarray, known: np.ndarray, count: int) -> dict[str, Any]:
    """The rows of `known` [n, d] nearest to any of `positions` [8, d]."""
    # Of each known row its nearest position, then of these rows the nearest.
    distances, turns = nearest_neighbours(known, positions)
    first = np.argsort(distances, kind="stable")[:count]
    return {
        "photographs": [int(i) for i in first],
        "distances": [float(distances[i]) for i in first],
        "turns": [int(turns[i]) for i in first],
    }
