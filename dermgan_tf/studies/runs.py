"""Runs of training that are judged alike, and the folder of those that belong together.

What an ablation and a search for settings share. A run lies in a folder of `train_gan`;
once it is judged, judgement.json lies there too, and it is never trained again.
"""

import contextlib
import io
import itertools
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.metrics import (
    frechet_distance,
    frechet_trials,
    kernel_distance,
    kernel_trials,
)
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.dermgan.model import DEFAULT_LEARNING_RATES, DEFAULT_LOSS_WEIGHTS
from dermgan_tf.models.dermgan.served import (
    SavedGenerator,
    export_saved_model,
    load_generator,
    load_trained_generator,
)
from dermgan_tf.models.dermgan.task import train_gan
from dermgan_tf.output_folder import atomic_write, locked_folder, write_json
from dermgan_tf.pairs.pairs import drawn_positions, read_pairs_at, read_pairs_info
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.progress import silent
from dermgan_tf.training.callbacks import TrainingDiverged
from dermgan_tf.training.run_folder import CHECKPOINTS

JUDGEMENT = "judgement.json"
MIN_IMAGES = 8  # halves of four: the fewest that all distances are defined for
SHEET_ROWS = 8
BATCH_SIZE = 32
DRAW_SEED = 0  # of which images are judged, and of the trials: the same for all runs
# How a run is trained, not what comes of it: may change when a study goes on.
_CHANGEABLE = ("checkpoint_every", "keep_checkpoints")


def switched(
    training: Mapping[str, Any], switches: Mapping[str, Any]
) -> dict[str, Any]:
    """Training arguments with some changed; of the loss weights, only those named."""
    weights = {**training["loss_weights"], **switches.get("loss_weights", {})}
    return {**training, **switches, "loss_weights": weights}


def with_defaults(training: Mapping[str, Any]) -> dict[str, Any]:
    """Training arguments with every loss weight and learning rate named."""
    rates = {f"{name}_learning_rate": r for name, r in DEFAULT_LEARNING_RATES.items()}
    weights = {**DEFAULT_LOSS_WEIGHTS, **(training.get("loss_weights") or {})}
    weights = {name: float(weight) for name, weight in weights.items()}
    return {**rates, **training, "loss_weights": weights}


class DistanceJudge:
    """Measures how far synthetic images of held-out maps are from the real ones.

    The real images are embedded once, and their activations are kept in a file.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        embedding: from `build_embedding`.
        split: the split whose maps are painted.
        cache: the file of the real images' activations; read if it exists. It must be
            of the same pairs, split, embedding and number of images.
        trials: int ≥ 1. Random subsets, of half the images each, that the distances'
            deviations and intervals are of.
        max_images: int. At most so many pairs, drawn at random, are judged.
        progress: see `dermgan_tf.progress`.

    Attributes:
        positions: np.int64 [n], places in the split of the pairs that are judged.
        shown: those of them that the sheets show: of each condition the first ones.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        embedding: Embedding,
        split: str,
        cache: pathlib.Path,
        trials: int = 50,
        max_images: int | None = None,
        progress: Callable = silent,
    ):
        info = read_pairs_info(data_dir)
        count = judged_count(info, data_dir, split, max_images)
        self.positions = drawn_positions(info.counts[split], count, DRAW_SEED)
        self._data_dir, self._split = data_dir, split
        self._embedding, self._trials, self._progress = embedding, trials, progress
        if not cache.exists():
            atomic_write(cache, self._embed_real(info.counts))
        with np.load(cache) as arrays:
            self._real, self._other = arrays["real"], arrays["other"]
            self.shown = shown_positions(self.positions, arrays["conditions"])

    def real_distances(self) -> dict[str, Any]:
        """The same distances between real images and other real ones.

        Other cases are the fair comparison, and the training split has them. Where it
        has too few, the split's own images are cut in halves.
        """
        count = len(self._real)
        if len(self._other) == count:
            return {
                "compared": f"real train images, real {self._split} images",
                **self._distances(self._other, self._real),
            }
        mixed = self._real[np.random.default_rng(DRAW_SEED).permutation(count)]
        return {
            "compared": f"random halves of the real {self._split} images",
            **self._distances(mixed[: count // 2], mixed[count // 2 :], mixed),
        }

    def distances(
        self,
        generator: SavedGenerator,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
        """Paints every map once, and measures the distances to the real images.

        Returns:
            dict of images, frechet_distance, kernel_distance, frechet_trials and
            kernel_trials; and the images, np.uint8 [S, S, 3], that are shown, by
            position.

        Raises:
            InputError: if a stop was requested.
        """
        activations, shown = [], {}
        pairs = self._progress(
            read_pairs_at(self._data_dir, self._split, self.positions),
            total=len(self.positions),
            desc="painting, embedding",
        )
        for batch in _batches(pairs):
            if stop_requested():
                raise InputError("stopped while painting; the same command goes on")
            painted = generator.paint(
                np.stack([pair["semantic_map"] for _, pair in batch]),
                [position for position, _ in batch],
            )
            activations.append(self._embedding.embed(painted))
            for (position, _), image in zip(batch, painted, strict=True):
                if position in self.shown:
                    shown[position] = image
        return self._distances(np.concatenate(activations), self._real), shown

    def _distances(self, a, b, within=None) -> dict[str, Any]:
        """Distances of `a` to `b`; trials of disjoint halves of `within`, if given."""
        sets = (a, b) if within is None else (within, None)
        draws = {
            "trials": self._trials,
            "sample_size": len(self.positions) // 2,
            "seed": DRAW_SEED,
        }
        with warnings.catch_warnings():
            # Of few samples; a remark says it in the report.
            warnings.filterwarnings("ignore", message="Fréchet distance of")
            return {
                "images": len(a),
                "frechet_distance": frechet_distance(a, b),
                "kernel_distance": kernel_distance(a, b),
                "frechet_trials": frechet_trials(*sets, **draws),
                "kernel_trials": kernel_trials(*sets, **draws),
            }

    def _embed_real(self, counts: Mapping[str, int]) -> bytes:
        real, conditions = self._embed(self._split, self.positions)
        other = np.empty((0, real.shape[1]), np.float32)
        if self._split != "train" and counts.get("train", 0) >= len(real):
            other, _ = self._embed(
                "train", drawn_positions(counts["train"], len(real), DRAW_SEED)
            )
        file = io.BytesIO()
        np.savez(file, real=real, other=other, conditions=np.array(conditions))
        return file.getvalue()

    def _embed(self, split, positions) -> tuple[np.ndarray, list[str]]:
        conditions = []

        def images():
            for _, pair in read_pairs_at(self._data_dir, split, positions):
                conditions.append(pair["condition"])
                yield pair["image"]

        bar = self._progress(
            images(), total=len(positions), desc=f"embedding real {split}"
        )
        return self._embedding.embed(bar), conditions


def train_and_judge(
    data_dir: str | os.PathLike,
    folder: pathlib.Path,
    judge: DistanceJudge,
    training: Mapping[str, Any],
    keep_checkpoints: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Trains a run and judges it; of a run that was judged before, reads what came out.

    Args:
        data_dir: a folder of pairs.
        folder: of the run; see `train_gan`. Besides its files it gets judgement.json
            and shown/, images of the judge's shown maps.
        judge: from which the distances come.
        training: arguments of `train_gan`.
        keep_checkpoints: bool. Whether a finished run keeps its checkpoints.
        stop_requested, progress: as of `train_gan`.

    Returns:
        dict of generator (fingerprint), seconds (training, of the call that ended it),
        and what `DistanceJudge.distances` gives.

    Raises:
        TrainingDiverged: if losses were not finite.
        InputError: as of `train_gan`, or if a stop was requested.
    """
    if not (folder / JUDGEMENT).exists():
        try:
            result = train_gan(
                data_dir,
                folder,
                **training,
                sample_every=0,
                stop_requested=stop_requested,
                progress=progress,
            )
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{folder}: {error}") from error
        if result.step < result.steps:
            raise InputError(
                f"stopped after step {result.step} of {result.steps} of {folder.name}, "
                "which is saved; the same command goes on from there"
            )
        exported = folder / "saved_model"  # paints as what is served will
        generator, vocabulary, provenance = load_trained_generator(folder)
        export_saved_model(generator, vocabulary, exported, provenance, overwrite=True)
        painter = load_generator(exported)
        distances, images = judge.distances(painter, stop_requested)
        (folder / "shown").mkdir(exist_ok=True)
        for position, image in images.items():
            text = {
                "synthetic": "true",
                "generator": painter.fingerprint,
                "seed": str(position),
            }
            atomic_write(shown_file(folder, position), encode_png(image, text))
        shutil.rmtree(exported)
        seconds = result.seconds["training"]
        write_json(
            folder / JUDGEMENT,
            {"generator": painter.fingerprint, "seconds": seconds, **distances},
        )
    if not keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return json.loads((folder / JUDGEMENT).read_text("utf-8"))


def judged_count(info, data_dir, split: str, max_images: int | None) -> int:
    """How many pairs of a split are judged; raises InputError if too few."""
    if split not in info.counts:
        raise InputError(
            f"{os.fspath(data_dir)} has no split {split!r}; it has: "
            f"{', '.join(info.counts)}"
        )
    count = min(info.counts[split], max_images or info.counts[split])
    if count < MIN_IMAGES:
        raise InputError(
            f"{count} images of split {split!r} of {os.fspath(data_dir)} are too few "
            f"to judge by; at least {MIN_IMAGES} are needed"
        )
    return count


def shown_positions(positions: Sequence[int], conditions: Sequence[str]) -> list[int]:
    """The first of each condition, then the second, …: not chosen for looks."""
    by_condition = {}
    for position, condition in zip(positions, conditions, strict=True):
        by_condition.setdefault(str(condition), []).append(int(position))
    rounds = itertools.zip_longest(*(by_condition[c] for c in sorted(by_condition)))
    chosen = [p for row in rounds for p in row if p is not None][:SHEET_ROWS]
    return sorted(chosen)


@contextlib.contextmanager
def study_folder(
    path: str | os.PathLike,
    description: str,
    facts: Mapping[str, Any],
    own_files: Sequence[str],
    overwrite: bool = False,
) -> Iterator[pathlib.Path]:
    """Yields the folder of several runs that belong together, held against others.

    Args:
        path: the folder; made if absent.
        description: name of the JSON file that says what the folder is of.
        facts: what it is of: JSON values. Where the folder is of other facts, it is
            refused.
        own_files: names of what else the runs leave; `overwrite` deletes these.
        overwrite: bool. Whether to delete what the folder holds and start anew.

    Raises:
        InputError: naming the first difference; for a folder with something else in it,
            or in use.
    """
    facts = json.loads(json.dumps(facts))
    with locked_folder(path) as folder:
        file = folder / description
        if not file.exists():
            if strangers := [p.name for p in folder.iterdir() if p.name[0] != "."]:
                raise InputError(
                    f"{folder} is not empty and holds no {description}, so there is "
                    f"nothing to go on with (it has {min(strangers)}); choose another"
                )
        elif overwrite:
            for name in (*own_files, description):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)
        if file.exists():
            try:
                earlier = _flat(json.loads(file.read_text("utf-8")))
            except ValueError as error:
                raise InputError(f"{file} is damaged: {error}") from None
            for name, value in _flat(facts).items():
                if earlier.get(name) != value and name not in _CHANGEABLE:
                    raise InputError(
                        f"{folder} was begun with {name} {earlier.get(name)}, this "
                        f"call asks for {value}; repeat it with "
                        f"{earlier.get(name)}, choose another folder, or pass "
                        "--overwrite to start anew"
                    )
        write_json(file, facts)
        yield folder


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by the names that flags have: steps, condition_weight, …"""
    flat = {}
    for name, value in values.items():
        if name == "loss_weights":
            flat |= {f"{loss}_weight": weight for loss, weight in value.items()}
        elif isinstance(value, Mapping):
            inner = "" if name == "training" else f"{name} "
            flat |= _flat(value, prefix + inner)
        else:
            flat[prefix + name] = value
    return flat


def _batches(items) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH_SIZE)):
        yield batch


def shown_file(folder: pathlib.Path, position: int) -> pathlib.Path:
    return folder / "shown" / f"{position:06d}.png"
