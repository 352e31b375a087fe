"""Training on photographs alone to paint others from noise."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.unconditional.model import (
    ADAPTATION_IMAGES,
    AUGMENTATION_TARGET,
    UnconditionalGAN,
    default_r1_weight,
)
from dermgan_tf.models.unconditional.networks import (
    LATENT_SIZE,
    build_image_discriminator,
    build_latent_generator,
    latents_of_seeds,
)
from dermgan_tf.pairs.photographs import (
    load_photographs,
    read_photographs,
    read_photographs_info,
    require_batch,
    require_sound_photographs,
)
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.training.callbacks import SampleSheets, as_bytes
from dermgan_tf.training.options import require_counts
from dermgan_tf.training.run import (
    AdversarialTask,
    RunOptions,
    TrainingResult,
    run_training,
)

KIND = "unconditional"
ADAM_BETA_2 = 0.99  # with beta_1 0 as in StyleGAN, and near the RMSprop of Mescheder
# What train_unconditional takes. On 520 drawn photographs of 64 pixels, with 8 filters,
# 1e-3 was far ahead of 2e-4 after 1,500 steps; half of that for wider networks, whose
# weights are smaller. Mescheder et al. have 1e-4, for 300,000 steps and more.
LEARNING_RATE = 5e-4
SHEET_SIDE = 8  # images a row
SHEET_ROWS = 4


def train_unconditional(
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    options: RunOptions,
    *,
    domain: str | None = None,
    adaptive_augmentation: bool = True,
    adaptation_images: int = ADAPTATION_IMAGES,
    augmentation_target: float = AUGMENTATION_TARGET,
    loss_weights: Mapping[str, float] | None = None,
) -> TrainingResult:
    """Trains an `UnconditionalGAN`, or goes on with the one in `model_dir`.

    Files in `model_dir` are those of `run_training`: the networks are "generator" and
    "discriminator".

    Args:
        data_dir: a folder that `prepare_pairs` or `prepare_patches` wrote; of pairs the
            photographs are taken, without their maps.
        model_dir: folder of the run; made if absent.
        options: how long, how large, where, in what numbers. Their defaults are those
            of translation: take beta_1 0 for Adam, as the papers do, and LEARNING_RATE.
        domain: "healthy" or "pathology", of patches.
        adaptive_augmentation, adaptation_images, augmentation_target: as of
            `UnconditionalGAN`.
        loss_weights: {"r1": γ}; by default as of `default_r1_weight`.

    Raises:
        InputError: as `run_training`, and for bad arguments or too few photographs.
    """
    options = options.settled()
    require_counts({"adaptation_images": adaptation_images})
    if not augmentation_target < 1:
        raise InputError(
            f"augmentation_target must be below 1, got {augmentation_target}: no mean "
            "of signs is above 1"
        )
    if options.mixed_precision == "float16":
        raise InputError(
            "mixed_precision float16 is too narrow for the gradient penalty, whose "
            "gradients are smaller than its least number; take bfloat16 or none"
        )
    info = read_photographs_info(data_dir, domain)
    require_batch(data_dir, "train", info.counts.get("train", 0), options.batch_size)
    task = _UnconditionalTask(data_dir, options, info)
    r1 = default_r1_weight(info.image_size, options.batch_size)
    task.settings |= {
        "adaptive_augmentation": adaptive_augmentation,
        "adaptation_images": adaptation_images if adaptive_augmentation else None,
        "augmentation_target": augmentation_target if adaptive_augmentation else None,
        "loss_weights": {"r1": r1, **(loss_weights or {})},
    }
    return run_training(task, model_dir, options)


class _UnconditionalTask(AdversarialTask):
    adam_beta_2 = ADAM_BETA_2

    def __init__(self, data_dir, options, info):
        self._data_dir = data_dir
        self._options = options
        self._info = info
        self.data_name = info.unit
        self.settings = {
            "kind": KIND,
            "image_size": info.image_size,
            "base_filters": options.base_filters,
            "latent_size": LATENT_SIZE,
            "domain": info.domain,
            "data_fingerprint": info.fingerprint,
            "source": info.source,
            "training_images": info.counts["train"],
            "adam_beta_2": self.adam_beta_2,
        }

    def build(self, base_filters, seed, ema_decay):
        return build_unconditional(self.settings, seed, ema_decay)

    def batches(self, start_step):
        return load_photographs(
            self._data_dir,
            "train",
            self._options.batch_size,
            domain=self._info.domain,
            seed=self._options.seed,
            start_step=start_step,
            skip_corrupt_records=self._options.skip_corrupt_records,
        )

    def require_sound_data(self):
        require_sound_photographs(self._data_dir, "train", self._info.domain)

    def watchers(self, model, folder, span, sample_every, writer):
        if not sample_every:
            return [], None
        photographs = read_photographs(
            self._data_dir,
            "train",
            domain=self._info.domain,
            skip_corrupt_records=self._options.skip_corrupt_records,
        )
        samples = SeedSheets(
            *span,
            sample_every,
            paint=tf.function(model),
            latent_size=model.latent_size,
            photos=[
                photograph["image"]
                for photograph, _ in zip(photographs, range(SHEET_SIDE), strict=False)
            ],
            folder=folder / "samples",
            writer=writer,
            provenance={"data_fingerprint": self._info.fingerprint},
        )
        # Without maps there is nothing to compare single images with.
        return [samples], None


def build_unconditional(
    settings: Mapping[str, Any], seed: int = 0, ema_decay: float = 0.0
) -> UnconditionalGAN:
    """Builds the model of a run, of random weights, from what model.json says."""
    size, filters = settings["image_size"], settings["base_filters"]
    adaptation = {
        name: settings[name]
        for name in ("adaptation_images", "augmentation_target")
        if settings[name] is not None
    }
    return UnconditionalGAN(
        build_latent_generator(size, filters, settings["latent_size"]),
        build_image_discriminator(size, filters),
        adaptive_augmentation=settings["adaptive_augmentation"],
        seed=seed,
        ema_decay=ema_decay,
        **adaptation,
    )


class SeedSheets(SampleSheets):
    """Sheets of a few training photographs, and of images of the same seeds each time.

    Args:
        first_step, last_step, every, folder, writer, provenance: as of `SampleSheets`.
        paint: function of latents, float32 [N, L], that gives images in [-1, 1].
        latent_size: int. L.
        photos: np.uint8 [S, S, 3], one row of them.
    """

    def __init__(self, *span, paint, latent_size, photos, **kwargs):
        super().__init__(*span, title="seeds", **kwargs)
        self.paint = paint
        self._photos = photos
        seeds = np.arange(SHEET_SIDE * SHEET_ROWS, dtype=np.int32)
        latents = latents_of_seeds(tf.constant(seeds), latent_size)
        self._rows = tf.split(latents, SHEET_ROWS)

    def sheet(self, step):
        rows = [as_bytes(self.paint(latents).numpy()) for latents in self._rows]
        return contact_sheet(
            [self._photos, *rows],
            row_labels=["training", *["synthetic"] * SHEET_ROWS],
            title=f"step {step:,}",
        )
