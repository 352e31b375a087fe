"""Photographs alone, out of a folder of pairs or of one domain of patches."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

from dermgan_tf.errors import InputError
from dermgan_tf.pairs import pairs, patches
from dermgan_tf.pairs.batches import (
    record_batches,
    record_count,
    require_sound_shards,
    usable_shards,
)


@dataclasses.dataclass(frozen=True)
class PhotographsInfo:
    """What a folder of pairs, or a domain of a folder of patches, holds.

    Args:
        image_size: int. Height and width in pixels.
        counts: dict. Number of photographs by split; empty splits are absent.
        fingerprint: str. Of the folder.
        source: str. "real", "phantom", or both joined with "+".
        shards: dict. For each of `counts` its shard files in order.
        unit: str. "pairs" or "patches".
        domain: str. "healthy" or "pathology"; None of pairs.
    """

    image_size: int
    counts: dict[str, int]
    fingerprint: str
    source: str
    shards: dict[str, list[dict[str, Any]]]
    unit: str
    domain: str | None


def read_data_info(
    data_dir: str | os.PathLike,
) -> pairs.PairsInfo | patches.PatchesInfo:
    """Reads what a folder of pairs or of patches holds, all of it.

    Raises:
        InputError: if it is neither.
    """
    from etils import epath  # comes with tensorflow_datasets

    folder = epath.Path(data_dir)
    if (folder / patches.INFO_FILE).exists():
        return patches.read_patches_info(data_dir)
    if (folder / pairs.INFO_FILE).exists():
        return pairs.read_pairs_info(data_dir)
    raise InputError(
        f"{os.fspath(data_dir)} is not a folder of pairs or patches: it has neither "
        f"{pairs.INFO_FILE} nor {patches.INFO_FILE}; prepare_pairs or prepare_patches "
        "makes one"
    )


def read_photographs_info(
    data_dir: str | os.PathLike, domain: str | None = None
) -> PhotographsInfo:
    """Reads what a folder holds.

    Args:
        data_dir: of `prepare_pairs` or `prepare_patches`.
        domain: "healthy" or "pathology", of patches.

    Raises:
        InputError: if it is neither, or the domain is missing, unknown or out of place.
    """
    info = read_data_info(data_dir)
    if isinstance(info, pairs.PairsInfo):
        if domain is not None:
            raise InputError(
                f"{os.fspath(data_dir)} holds pairs, which have no domains: leave out "
                f"domain {domain!r}"
            )
        parts = {split: split for split in info.counts}
        unit = "pairs"
    else:
        if domain not in patches.DOMAINS:
            given = "no domain" if domain is None else f"unknown domain {domain!r}"
            raise InputError(
                f"{given} for the patches of {os.fspath(data_dir)}; want one of: "
                f"{', '.join(patches.DOMAINS)}"
            )
        parts = {split: f"{split}_{domain}" for split in patches.SPLITS}
        parts = {split: part for split, part in parts.items() if part in info.counts}
        unit = "patches"
    return PhotographsInfo(
        image_size=info.image_size,
        counts={split: info.counts[part] for split, part in parts.items()},
        fingerprint=info.fingerprint,
        source=info.source,
        shards={split: info.shards[part] for split, part in parts.items()},
        unit=unit,
        domain=domain,
    )


def load_photographs(
    data_dir: str | os.PathLike,
    split: str,
    batch_size: int,
    *,
    domain: str | None = None,
    seed: int = 0,
    start_step: int = 0,
    skip_corrupt_records: bool = False,
):
    """Loads endless batches of photographs in random order, each flipped and turned.

    The n-th batch is a pure function of the folder, the arguments and n; see
    `dermgan_tf.pairs.batches`.

    Args:
        data_dir, domain: as of `read_photographs_info`.
        split: "train", "validation" or "test".
        batch_size: int. Photographs per batch (over all replicas).
        seed: int. Of order and flips.
        start_step: int. The number of batches to leave out at the beginning.
        skip_corrupt_records: bool. Whether to leave out, with a warning, what is
            damaged; see `load_pairs`.

    Returns:
        tf.data.Dataset of dicts "image", float32 [B, S, S, 3] in [-1, 1]. Its attribute
        `damages` lists what was left out.

    Raises:
        InputError: as `read_photographs_info`, and for a split that is absent or
            smaller than one batch, or a shard that is missing or damaged.
    """
    import tensorflow as tf

    if batch_size < 1 or start_step < 0:
        raise InputError(
            f"batch size {batch_size}, start step {start_step}: want at least 1 and 0"
        )
    info = read_photographs_info(data_dir, domain)
    decode = _decoder(info)
    shards, damages = usable_shards(
        data_dir, info.shards, split, decode, skip_corrupt_records, info.unit
    )
    require_batch(data_dir, split, record_count(shards), batch_size)
    dataset = record_batches(
        shards,
        decode,
        batch_size,
        shuffle=True,
        augment=True,
        repeat=True,
        seed=seed,
        start_step=start_step,
        scale=lambda batch: {"image": tf.cast(batch[0], tf.float32) / 127.5 - 1.0},
    )
    dataset.damages = tuple(damages)
    return dataset


def require_batch(
    data_dir: str | os.PathLike, split: str, count: int, batch_size: int
) -> None:
    """Raises InputError where a split's photographs do not fill a batch."""
    if count < batch_size:
        raise InputError(
            f"split {split!r} of {os.fspath(data_dir)} has {count} photographs, fewer "
            f"than one batch of {batch_size}; take a smaller batch or prepare more"
        )


def read_photographs(
    data_dir: str | os.PathLike,
    split: str,
    *,
    domain: str | None = None,
    skip_corrupt_records: bool = False,
) -> Iterator[dict[str, Any]]:
    """Reads photographs in the order they were written.

    Args:
        data_dir, domain: as of `read_photographs_info`.
        split: "train", "validation" or "test".
        skip_corrupt_records: bool. As of `load_photographs`.

    Yields:
        dicts with at least image, np.uint8 [S, S, 3], and image_id, case_id, condition,
        source: str.

    Raises:
        InputError: as `load_photographs`.
    """
    info = read_photographs_info(data_dir, domain)
    if info.unit == "pairs":
        read = pairs.read_pairs(
            data_dir, split, skip_corrupt_records=skip_corrupt_records
        )
    else:
        read = patches.read_patches(
            data_dir, split, domain, skip_corrupt_records=skip_corrupt_records
        )
    yield from read


def read_photographs_at(
    data_dir: str | os.PathLike,
    split: str,
    positions: Sequence[int],
    domain: str | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads the photographs at some places of a split; see `read_photographs`.

    Yields:
        (position, photograph), in order of position.

    Raises:
        InputError: as `read_photographs`, or if one of them is synthetic: images are
            judged against photographs only.
    """
    wanted = {int(position) for position in positions}
    photographs = read_photographs(data_dir, split, domain=domain) if wanted else ()
    for position, photograph in enumerate(photographs):
        if position in wanted:
            if photograph["source"] == "synthetic":
                raise InputError(
                    f"{os.fspath(data_dir)}: {photograph['image_id']} of split "
                    f"{split!r} is synthetic; synthetic images are judged against "
                    "photographs only"
                )
            yield position, photograph


def require_sound_photographs(
    data_dir: str | os.PathLike, split: str, domain: str | None = None
) -> None:
    """Raises InputError for the first corrupt record, if the split has one."""
    info = read_photographs_info(data_dir, domain)
    require_sound_shards(data_dir, info.shards, split, _decoder(info), info.unit)


def _decoder(info: PhotographsInfo):
    """TensorFlow function of a record: a tuple of the image, uint8 [S, S, 3]."""
    import tensorflow as tf

    size = info.image_size

    def decode(record):
        feature = {"image": tf.io.FixedLenFeature([], tf.string)}
        parsed = tf.io.parse_single_example(record, feature)
        image = tf.io.decode_png(parsed["image"], channels=3)
        return (tf.ensure_shape(image, (size, size, 3)),)

    return decode
