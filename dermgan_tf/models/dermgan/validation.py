"""How near the averaged generator comes to photographs that it is not trained on."""

import os
import pathlib
from collections.abc import Callable, Collection, Mapping

import tensorflow as tf

from dermgan_tf.layers import losses
from dermgan_tf.pairs.pairs import load_pairs, read_pairs_info, require_sound_records
from dermgan_tf.photos.semantic_map import roi_mask
from dermgan_tf.training.logs import (
    append_history,
    best_step,
    cut_history,
)

SPLIT = "validation"
MAX_PAIRS = 128
_MAX_BATCH = 8
_PARTS = {
    "reconstruction": "reconstruction_loss",
    "condition": "condition_loss",
}


class Validation:
    """Measures the validation loss of a run and keeps its record.

    The loss is λ_reconstruction · reconstruction + λ_condition · condition, with the
    weights of the run, over the same pairs painted with the same seeds each time. Both
    terms are absolute differences to one photograph, and the least of those is blurred:
    an image that hedges beats one that is sharp and as plausible as the photograph. So
    the loss tells a generator that collapsed from one that works, and no more; it is a
    safety net, not a judge of images (see `dermgan_tf.judging.dermgan`).

    Args:
        path: validation.csv: a row for every step measured; rows beyond `first_step`
            are cut off.
        first_step: int. Steps done before this process began.
        paint: function of semantic maps, float32 [N, S, S, 3] in [-1, 1], and seeds,
            int32 [N], that gives images like the maps.
        data_dir: a folder of pairs with a validation split. Up to 128 of its pairs,
            chosen by chance, but always the same, are looked at.
        loss_weights: dict with the keys "reconstruction" and "condition", not both 0.
        writer: a tf.summary writer.
        skip_corrupt_records: bool. As of `load_pairs`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        first_step: int,
        *,
        paint: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        data_dir: str | os.PathLike,
        loss_weights: Mapping[str, float],
        writer: tf.summary.SummaryWriter,
        skip_corrupt_records: bool = False,
    ):
        self.path = pathlib.Path(path)
        self.writer = writer
        self._paint = paint
        self._data_dir = data_dir
        self._weights = {name: loss_weights[name] for name in _PARTS}
        pairs = load_pairs(
            data_dir,
            SPLIT,
            batch_size=1,
            shuffle=True,
            augment=False,
            repeat=True,
            skip_corrupt_records=skip_corrupt_records,
        )
        total = read_pairs_info(data_dir).counts[SPLIT]
        count = min(MAX_PAIRS, total - sum(damage.lost for damage in pairs.damages))
        # Whole batches only: every image once, and one shape for the network.
        batch = max(n for n in range(1, _MAX_BATCH + 1) if count % n == 0)
        self._num_batches = count // batch
        self._pairs = pairs.unbatch().batch(batch).take(self._num_batches)
        cut_history(self.path, first_step)

    def measure(self, step: int) -> float:
        """Measures the loss, which may be NaN, and puts it on record under `step`.

        Raises:
            InputError: for a damaged shard.
        """
        sums = dict.fromkeys(_PARTS, 0.0)
        try:
            for number, pairs in enumerate(self._pairs):
                maps, real = pairs["semantic_map"], pairs["image"]
                seeds = number * len(maps) + tf.range(len(maps))
                synthetic = self._paint(maps, seeds)
                mask = roi_mask(tf.cast(tf.round((maps + 1.0) * 127.5), tf.uint8))
                sums["reconstruction"] += float(
                    losses.reconstruction_loss(real, synthetic)
                )
                sums["condition"] += float(losses.condition_loss(real, synthetic, mask))
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
            require_sound_records(self._data_dir, SPLIT)
            raise
        means = {name: total / self._num_batches for name, total in sums.items()}
        row = {
            "loss": sum(self._weights[name] * mean for name, mean in means.items()),
            **{_PARTS[name]: mean for name, mean in means.items()},
        }
        append_history(self.path, step, row)
        with self.writer.as_default(step=step):
            for name, value in row.items():
                tf.summary.scalar(f"validation/{name}", value)
        self.writer.flush()
        return row["loss"]

    def best_step(self, steps: Collection[int]) -> int | None:
        """The best of `steps`, as the function of this name finds it."""
        return best_step(self.path, steps)
