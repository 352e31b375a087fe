"""Training on patches to add or to remove pathology, or to do both, as a CycleGAN."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.translation import cyclegan
from dermgan_tf.models.translation import model as lesion_translation
from dermgan_tf.models.translation.cyclegan import POOL_SIZE, CycleGAN
from dermgan_tf.models.translation.model import (
    DIRECTIONS,
    HIDDEN_IDENTITY_INSIDE,
    LesionTranslation,
)
from dermgan_tf.models.translation.networks import (
    ARCHITECTURES,
    build_domain_discriminator,
    build_translator,
)
from dermgan_tf.pairs.patches import (
    DOMAINS,
    SPLITS,
    load_patches,
    read_patches,
    read_patches_info,
    require_domain,
    require_sound_patches,
)
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.training.callbacks import SampleSheets, as_bytes
from dermgan_tf.training.model import AdversarialModel
from dermgan_tf.training.options import require_choices
from dermgan_tf.training.run import (
    AdversarialTask,
    RunOptions,
    TrainingResult,
    run_training,
)

SAMPLES = 6  # patches of a domain on a sheet


def train_lesion_translation(
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    options: RunOptions,
    *,
    direction: str = "remove",
    architecture: str = "resnet",
    compose: bool = True,
    hide_masked: bool = True,
    loss_weights: Mapping[str, float] | None = None,
) -> TrainingResult:
    """Trains a `LesionTranslation` on patches, or goes on with the one in `model_dir`.

    Files in `model_dir` are those of `run_training`: the networks are "generator" and
    "discriminator".

    Args:
        data_dir: a folder that `prepare_patches` wrote.
        model_dir: folder of the run; made if absent.
        options: how long, how large, where, in what numbers.
        direction: "add" or "remove".
        architecture: "resnet" or "unet"; see `build_translator`.
        compose: bool. As of `LesionTranslation`.
        hide_masked: bool. As of `build_translator`.
        loss_weights: as of `LesionTranslation.compile`; with `hide_masked` that of
            "identity_inside" is `HIDDEN_IDENTITY_INSIDE` by default.

    Raises:
        InputError: as `run_training`, and for a bad argument or an empty domain.
    """
    require_choices({"direction": (direction, DIRECTIONS)})
    options = options.settled()
    if hide_masked:
        inside = {"identity_inside": HIDDEN_IDENTITY_INSIDE[direction]}
        loss_weights = {**inside, **(loss_weights or {})}
    task = _LesionTask(data_dir, options, architecture, compose, loss_weights)
    task.settings |= {"direction": direction, "hide_masked": hide_masked}
    return run_training(task, model_dir, options)


def train_cyclegan(
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    options: RunOptions,
    *,
    architecture: str = "resnet",
    use_masks: bool = True,
    compose: bool = True,
    pool_size: int = POOL_SIZE,
    loss_weights: Mapping[str, float] | None = None,
) -> TrainingResult:
    """Trains a `CycleGAN` on patches, or goes on with the one in `model_dir`.

    Files in `model_dir` are those of `run_training`: the networks are "adder",
    "remover", "adder_discriminator" and "remover_discriminator".

    Args:
        data_dir, model_dir, options, architecture: as of `train_lesion_translation`.
        use_masks, compose, pool_size: as of `CycleGAN`.
        loss_weights: as of `CycleGAN.compile`.

    Raises:
        InputError: as `train_lesion_translation`.
    """
    if pool_size < 0:
        raise InputError(f"pool_size must be 0 or more, got {pool_size}")
    options = options.settled()
    task = _CycleTask(data_dir, options, architecture, compose, loss_weights)
    task.settings |= {"use_masks": use_masks, "pool_size": pool_size}
    return run_training(task, model_dir, options)


class _PatchesTask(AdversarialTask):
    """What both kinds of training on patches share."""

    kind: str
    default_loss_weights: Mapping[str, float]
    data_name = "patches"

    def __init__(self, data_dir, options, architecture, compose, loss_weights):
        require_choices({"architecture": (architecture, ARCHITECTURES)})
        self._data_dir = data_dir
        self._options = options
        self._info = info = read_patches_info(data_dir)
        for domain in DOMAINS:
            require_domain(data_dir, info, "train", domain)
        self.settings = {
            "kind": self.kind,
            "image_size": info.image_size,
            "base_filters": options.base_filters,
            "architecture": architecture,
            "data_fingerprint": info.fingerprint,
            "source": info.source,
            "pathology": list(info.conditions),
            "compose": compose,
            "loss_weights": {**self.default_loss_weights, **(loss_weights or {})},
        }

    def batches(self, start_step):
        return load_patches(
            self._data_dir,
            "train",
            self._options.batch_size,
            seed=self._options.seed,
            start_step=start_step,
            skip_corrupt_records=self._options.skip_corrupt_records,
        )

    def require_sound_data(self):
        require_sound_patches(self._data_dir, "train")

    def watchers(self, model, folder, span, sample_every, writer):
        if not sample_every:
            return [], None
        samples = TranslationSheets(
            *span,
            sample_every,
            translators=translators(model),
            patches=self._sample_patches(),
            folder=folder / "samples",
            writer=writer,
            provenance={"data_fingerprint": self._info.fingerprint},
        )
        # No measure of an unpaired translation tells which checkpoint is the best.
        return [samples], None

    def _sample_patches(self) -> dict[str, list[dict[str, Any]]]:
        """Patches by domain, of a split not trained on, if there is any."""
        found = {}
        for domain in DOMAINS:
            split = next(
                split
                for split in ("validation", "test", *SPLITS)
                if self._info.counts.get(f"{split}_{domain}")
            )
            found[domain] = choose_sample_patches(
                read_patches(
                    self._data_dir,
                    split,
                    domain,
                    skip_corrupt_records=self._options.skip_corrupt_records,
                ),
                SAMPLES,
            )
        return found


class _LesionTask(_PatchesTask):
    kind = "lesion translation"
    default_loss_weights = lesion_translation.DEFAULT_LOSS_WEIGHTS

    def build(self, base_filters, seed, ema_decay):
        return build_lesion_translation(self.settings, seed, ema_decay)


class _CycleTask(_PatchesTask):
    kind = "CycleGAN"
    default_loss_weights = cyclegan.DEFAULT_LOSS_WEIGHTS

    def build(self, base_filters, seed, ema_decay):
        batch_size = self._options.batch_size
        return build_cyclegan(self.settings, seed, ema_decay, batch_size)


def build_lesion_translation(
    settings: Mapping[str, Any], seed: int = 0, ema_decay: float = 0.0
) -> LesionTranslation:
    """Builds the model of a run, of random weights, from what model.json says."""
    size, filters = settings["image_size"], settings["base_filters"]
    return LesionTranslation(
        build_translator(
            size,
            filters,
            settings["architecture"],
            hide_masked=settings["hide_masked"],
        ),
        build_domain_discriminator(size, filters),
        settings["direction"],
        compose=settings["compose"],
        seed=seed,
        ema_decay=ema_decay,
    )


def build_cyclegan(
    settings: Mapping[str, Any],
    seed: int = 0,
    ema_decay: float = 0.0,
    batch_size: int = 1,
) -> CycleGAN:
    """Builds the model of a run, of random weights, from what model.json says."""
    size, filters = settings["image_size"], settings["base_filters"]
    use_masks = settings["use_masks"]
    translators = (
        build_translator(size, filters, settings["architecture"], use_masks, name=name)
        for name in CycleGAN.generator_names
    )
    discriminators = (
        build_domain_discriminator(size, filters, use_masks, name)
        for name in CycleGAN.discriminator_names
    )
    return CycleGAN(
        *translators,
        *discriminators,
        use_masks=use_masks,
        compose=settings["compose"],
        pool_size=settings["pool_size"],
        batch_size=batch_size,
        seed=seed,
        ema_decay=ema_decay,
    )


def translators(model: AdversarialModel) -> dict[str, Callable]:
    """One graph for each direction: of photos and masks, float32, to photos."""

    def of(direction):
        return tf.function(
            lambda photos, masks: model.translate(photos, masks, direction)
        )

    return {direction: of(direction) for direction in model.directions}


def choose_sample_patches(patches, count: int) -> list[dict[str, Any]]:
    """The first patch of each of the first photos; where they are few, more of them."""
    first: dict[str, dict] = {}
    others = []
    for patch in patches:
        if patch["image_id"] in first:
            others.append(patch)
        else:
            first[patch["image_id"]] = patch
        if len(first) == count:
            break
    return [*first.values(), *others][:count]


class TranslationSheets(SampleSheets):
    """Sheets of held-out patches, what became of them, and the difference.

    Args:
        first_step, last_step, every, folder, writer, provenance: as of `SampleSheets`.
        translators: by direction, functions of photos and masks; see `translators`.
        patches: by domain, a few patches as from `read_patches`. Masks are laid from
            those of pathology on the healthy ones.
    """

    def __init__(self, *span, translators, patches, **kwargs):
        super().__init__(*span, title="held-out patches", **kwargs)
        self.translators = translators
        masks = [patch["mask"] for patch in patches["pathology"]]
        sources = {"add": patches["healthy"], "remove": patches["pathology"]}
        self._examples = {
            direction: [
                (patch["image"], mask, patch["twin"])
                for patch, mask in zip(sources[direction], masks, strict=False)
            ]
            for direction in translators
        }

    def sheet(self, step):
        rows, labels = [], []
        for direction, examples in self._examples.items():
            photos, masks, twins = map(list, zip(*examples, strict=True))
            changed = translate_bytes(self.translators[direction], photos, masks)
            rows += before_and_after(photos, masks, changed, twins)
            labels += [direction] * len(photos)
        columns = ["photo", "mask", "synthetic", "difference x 4", "true twin"]
        shown = max(len(row) for row in rows)
        return contact_sheet(
            rows,
            row_labels=labels,
            column_labels=columns[:shown],
            title=f"step {step:,}",
        )


def translate_bytes(
    translator: Callable, photos: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> np.ndarray:
    """Runs a translator on photos, np.uint8 [S, S, 3], and masks, bool [S, S]."""
    scaled = np.stack(photos).astype(np.float32) / 127.5 - 1
    masks = np.stack(masks).astype(np.float32)[..., np.newaxis]
    return as_bytes(translator(tf.constant(scaled), tf.constant(masks)).numpy())


def before_and_after(photos, masks, changed, twins=None) -> list[list[np.ndarray]]:
    """Rows of a sheet: photo, mask, what became of it, and how far it is (times 4).

    Args:
        photos, changed: np.uint8 [S, S, 3] each.
        masks: bool [S, S].
        twins: the true other, np.uint8 [S, S, 3], or None, of each; shown if any is.
    """
    rows = []
    for photo, mask, result in zip(photos, masks, changed, strict=True):
        difference = np.abs(result.astype(np.int16) - photo)
        difference = np.clip(4 * difference, 0, 255).astype(np.uint8)
        rows.append([photo, mask.astype(np.uint8) * 255, result, difference])
    for row, twin in zip(rows, twins or [None] * len(rows), strict=True):
        if twin is not None:
            row.append(twin)
    return rows
