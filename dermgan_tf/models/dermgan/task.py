"""Training of DermGAN on a pairs folder: resumable, watched, on one device or many."""

import os
from collections.abc import Callable, Mapping

import tensorflow as tf
from absl import logging

from dermgan_tf.models.dermgan.model import (
    DEFAULT_LEARNING_RATES,
    DEFAULT_LOSS_WEIGHTS,
    DermGAN,
)
from dermgan_tf.models.dermgan.networks import build_discriminator, build_generator
from dermgan_tf.models.dermgan.validation import SPLIT as VALIDATION_SPLIT
from dermgan_tf.models.dermgan.validation import Validation
from dermgan_tf.pairs.pairs import (
    load_pairs,
    read_pairs,
    read_pairs_info,
    require_sound_records,
)
from dermgan_tf.photos.semantic_map import codes_per_channel
from dermgan_tf.progress import silent
from dermgan_tf.training.callbacks import MapSheets, choose_sample_pairs
from dermgan_tf.training.run import (
    AdversarialTask,
    RunOptions,
    TrainingResult,
    run_training,
    save_final_weights,
)
from dermgan_tf.training.run_folder import VALIDATION_FILE

__all__ = ["TrainingResult", "save_final_weights", "train_gan"]


def train_gan(
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    *,
    steps: int,
    batch_size: int,
    base_filters: int = 64,
    upsampling: str = "resize_conv",
    loss_weights: Mapping[str, float] | None = None,
    generator_learning_rate: float = DEFAULT_LEARNING_RATES["generator"],
    discriminator_learning_rate: float = DEFAULT_LEARNING_RATES["discriminator"],
    decay_steps: int | None = None,
    adam_beta_1: float = 0.5,
    ema_decay: float = 0.999,
    seed: int = 0,
    deterministic: bool = False,
    mixed_precision: str = "none",
    jit_compile: bool = False,
    steps_per_execution: int = 1,
    strategy: tf.distribute.Strategy | None = None,
    checkpoint_every: int = 500,
    keep_checkpoints: int = 2,
    sample_every: int = 500,
    log_every: int = 50,
    skip_corrupt_records: bool = False,
    balance: float = 0.0,
    condition_planes: bool = False,
    overwrite: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    progress: Callable = silent,
) -> TrainingResult:
    """Trains a DermGAN on pairs, or goes on with the training that `model_dir` holds.

    Called again with the same arguments after a kill, it continues from the newest
    checkpoint: at its step, with the data that would have come next. Files in
    `model_dir`: model.json (what was trained on what), checkpoints/, tensorboard/,
    samples/ (sheets of held-out maps), history.csv (losses), validation.csv, and after
    the last step generator.weights.h5, discriminator.weights.h5 and
    generator_ema.weights.h5.

    With every checkpoint the averaged generator (without an average, the generator)
    paints up to 128 pairs of the validation split. The one of least loss there, the
    weighted sum of its reconstruction and condition terms, is kept besides the last
    ones. Such a loss prefers blur to detail: take that checkpoint for a way back from a
    collapse, not for the one with the best images. Without a validation split, or with
    both weights 0, there is none.

    The seed sets Python's, NumPy's and TensorFlow's global random states.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        model_dir: folder of the run; made if absent.
        steps: int. The step to train to, counted from the beginning of the run. May
            grow from one call to the next.
        batch_size: int. Pairs per step, over all replicas together.
        base_filters: int. Filters of the networks' first blocks; 64 in the paper.
        upsampling: "resize_conv" or "transposed_conv".
        loss_weights: as of `DermGAN.compile`.
        generator_learning_rate, discriminator_learning_rate: float, of Adam. May
            change from one call to the next.
        decay_steps: int, 0…steps. Over this many steps at the end the learning rates
            fall linearly to 0 (see `dermgan_tf.training.optimizer`); by default half of
            `steps`, the share in the pix2pix authors' PyTorch code. May change from one
            call to the next, as `steps` may: the rate of a step follows from what this
            call asks for, so a finished run that goes on goes up again. Steps that
            float16 skips do not count.
        adam_beta_1: float, 0 ≤ β < 1. Adam's decay of the first moment; 0.5 in pix2pix.
        ema_decay: float, 0…1, per step. Of the generator's averaged weights; 0: none.
        seed: int. Decides initial weights, data order, augmentation and dropout.
        deterministic: bool. Whether only operations with reproducible results are used
            (slower on GPUs), so that a run killed and continued ends with the very
            weights of one never interrupted. Stays on for the process.
        mixed_precision: "none" (float32), "bfloat16" or "float16" computations.
        jit_compile: bool. Whether XLA compiles the training step.
        steps_per_execution: int. Steps that run on the device without coming back;
            more than 1 pays off on TPUs.
        strategy: from `make_strategy`; by default one device.
        checkpoint_every: int, in steps.
        keep_checkpoints: int. How many of the last are kept, besides the best one.
        sample_every: int, in steps. How often a sheet is painted; 0 for never.
        log_every: int, in steps. How often losses are logged and checked; TensorBoard
            gets the learning rates and the norms of gradients and updates too.
        skip_corrupt_records: bool. Whether to leave out pairs whose records are corrupt
            rather than to fail; see `load_pairs`. May change from one call to the next.
        balance: float, 0…1. How much more often pairs of rare conditions and skin types
            are trained on; see `load_pairs`.
        condition_planes: bool. Whether the networks read one plane a condition besides
            the map's channels; see `ConditionPlanes`.
        overwrite: bool. Whether to delete the run in `model_dir` and start anew.
        stop_requested: asked after every step; once true, the run is saved and ends.
            With several workers all end together, as soon as one of them is asked.
        progress: see `dermgan_tf.progress`.

    Returns:
        TrainingResult.

    Raises:
        InputError: for bad arguments, pairs or settings that differ from those the run
            began with, a corrupt record, a folder in use, a full disk, or losses that
            are not finite (the last good checkpoint stays).
    """
    options = RunOptions(
        steps=steps,
        batch_size=batch_size,
        base_filters=base_filters,
        generator_learning_rate=generator_learning_rate,
        discriminator_learning_rate=discriminator_learning_rate,
        decay_steps=decay_steps,
        adam_beta_1=adam_beta_1,
        ema_decay=ema_decay,
        seed=seed,
        deterministic=deterministic,
        mixed_precision=mixed_precision,
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
        strategy=strategy,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
        sample_every=sample_every,
        log_every=log_every,
        skip_corrupt_records=skip_corrupt_records,
        overwrite=overwrite,
        stop_requested=stop_requested,
        progress=progress,
    ).settled()
    task = _PaintingFromMaps(
        data_dir, upsampling, balance, condition_planes, loss_weights, options
    )
    return run_training(task, model_dir, options)


class _PaintingFromMaps(AdversarialTask):
    """DermGAN on pairs."""

    data_name = "pairs"

    def __init__(
        self, data_dir, upsampling, balance, condition_planes, loss_weights, options
    ):
        self._data_dir = data_dir
        self._options = options
        self._info = info = read_pairs_info(data_dir)
        self.settings = {
            "image_size": info.image_size,
            "base_filters": options.base_filters,
            "upsampling": upsampling,
            "condition_levels": codes_per_channel(len(info.vocabulary))
            if condition_planes
            else None,
            "conditions": list(info.vocabulary),
            "data_fingerprint": info.fingerprint,
            "source": info.source,
            "balance": float(balance) or None,  # as runs before had none
            "loss_weights": {**DEFAULT_LOSS_WEIGHTS, **(loss_weights or {})},
        }

    def build(self, base_filters, seed, ema_decay):
        size, levels = self._info.image_size, self.settings["condition_levels"]
        return DermGAN(
            build_generator(size, base_filters, self.settings["upsampling"], levels),
            build_discriminator(size, base_filters, levels),
            seed=seed,
            ema_decay=ema_decay,
        )

    def batches(self, start_step):
        return load_pairs(
            self._data_dir,
            "train",
            self._options.batch_size,
            repeat=True,
            seed=self._options.seed,
            start_step=start_step,
            skip_corrupt_records=self._options.skip_corrupt_records,
            balance=self.settings["balance"] or 0.0,
        )

    def require_sound_data(self):
        require_sound_records(self._data_dir, "train")

    def watchers(self, model, folder, span, sample_every, writer):
        # One graph for all painting: it needs less memory than going layer by layer.
        paint = tf.function(lambda maps, seeds: model(maps, seed=seeds))
        sheets = []
        if sample_every:
            pairs = read_pairs(
                self._data_dir,
                self._sample_split(),
                skip_corrupt_records=self._options.skip_corrupt_records,
            )
            samples = MapSheets(
                *span,
                sample_every,
                paint=paint,
                pairs=choose_sample_pairs(pairs),
                folder=folder / "samples",
                writer=writer,
                provenance={"data_fingerprint": self._info.fingerprint},
            )
            sheets.append(samples)
        return sheets, self._validation(model, paint, folder, span[0], writer)

    def _sample_split(self) -> str:
        """The split to paint samples of: one not trained on, if there is any."""
        return next(
            name
            for name in ("validation", "test", "train")
            if self._info.counts.get(name)
        )

    def _validation(self, gan, paint, folder, first_step, writer) -> Validation | None:
        """What decides which checkpoint is the best; None where nothing can."""
        if not self._info.counts.get(VALIDATION_SPLIT):
            logging.warning("no best checkpoint is kept: there is no validation split")
            return None
        if not (gan.lambdas["reconstruction"] or gan.lambdas["condition"]):
            logging.warning(
                "no best checkpoint is kept: both weights of its loss are 0"
            )
            return None
        return Validation(
            folder / VALIDATION_FILE,
            first_step,
            paint=paint,
            data_dir=self._data_dir,
            loss_weights=gan.lambdas,
            writer=writer,
            skip_corrupt_records=self._options.skip_corrupt_records,
        )
