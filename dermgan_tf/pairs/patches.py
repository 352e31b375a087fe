"""The patches folder: two domains, healthy skin and pathology, and reading them back.

A patches folder holds TFRecord shards of square patches with their masks of pathology
and the metadata of TensorFlow Datasets, so that `tfds.builder_from_directory(folder)`
opens it; each domain of each split is one split there, such as "train_healthy". What
this library needs besides is in `patches.json`. `dermgan_tf.pairs.prepare`
writes it.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.batches import (
    reading_options,
    record_batches,
    record_count,
    require_sound_shards,
    usable_shards,
)

DATASET_NAME = "patches"
INFO_FILE = "patches.json"
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
DOMAINS = ("healthy", "pathology")
# The splits as TensorFlow Datasets has them.
DOMAIN_SPLITS = tuple(f"{split}_{domain}" for split in SPLITS for domain in DOMAINS)
_OTHER_SEED = 0x51ED27  # the two domains are in orders of their own


@dataclasses.dataclass(frozen=True)
class PatchesInfo:
    """What a patches folder holds.

    Args:
        image_size: int. Height and width of patches and masks in pixels.
        counts: dict. Number of patches by split and domain, as "train_healthy"; empty
            ones are absent.
        fingerprint: str. Hexadecimal SHA-256 over the shards' digests.
        source: str. "real", "phantom", or both joined with "+".
        conditions: tuple of str. Of the photos that show pathology.
        shards: dict. For each of `counts` its shard files in order.
        anonymized_ids: bool. Whether case and image ids are hashes under a salt.
    """

    image_size: int
    counts: dict[str, int]
    fingerprint: str
    source: str
    conditions: tuple[str, ...]
    shards: dict[str, list[dict[str, Any]]]
    anonymized_ids: bool = False


def read_patches_info(data_dir: str | os.PathLike) -> PatchesInfo:
    """Reads what a patches folder holds.

    Args:
        data_dir: the folder, local or on any storage TensorFlow reads (`gs://…`).

    Raises:
        InputError: if it is not a patches folder.
    """
    from etils import epath  # comes with tensorflow_datasets

    path = epath.Path(data_dir) / INFO_FILE
    try:
        info = json.loads(path.read_text())
        if info["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path}: patches format {info['format_version']}, this version of "
                f"dermgan_tf reads {FORMAT_VERSION}; prepare the patches again"
            )
        return PatchesInfo(
            image_size=int(info["image_size"]),
            counts={name: int(n) for name, n in info["patches"].items()},
            fingerprint=str(info["fingerprint"]),
            source=str(info["source"]),
            conditions=tuple(info["conditions"]),
            shards=info["shards"],
            anonymized_ids=bool(info.get("anonymized_ids", False)),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{os.fspath(data_dir)} is not a folder of patches: it has no {INFO_FILE}; "
            "prepare_patches makes one"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: {error!r}; prepare the patches again"
        ) from None


def load_patches(
    data_dir: str | os.PathLike,
    split: str,
    batch_size: int,
    *,
    seed: int = 0,
    start_step: int = 0,
    skip_corrupt_records: bool = False,
):
    """Loads endless batches of both domains, which belong together by chance alone.

    Each domain is shuffled in an order of its own, anew in every epoch of its own, and
    each patch is flipped and turned, its mask alike. The n-th batch is a pure function
    of the folder, the arguments and n; see `dermgan_tf.pairs.batches`.

    Args:
        data_dir: a folder that `prepare_patches` wrote.
        split: "train", "validation" or "test".
        batch_size: int. Patches of each domain per batch (over all replicas).
        seed: int. Of order and augmentation.
        start_step: int. The number of batches to leave out at the beginning.
        skip_corrupt_records: bool. Whether to leave out, with a warning, what is
            damaged; see `load_pairs`.

    Returns:
        tf.data.Dataset of dicts "healthy" and "pathology", float32 [B, S, S, 3] in
        [-1, 1], and "mask", float32 [B, S, S, 1], 1 on the pathology of "pathology" and
        0 elsewhere. Its attribute `damages` lists what was left out.

    Raises:
        InputError: for a folder that holds no patches, a domain that is empty in this
            split or smaller than one batch, or a shard that is missing or damaged.
    """
    import tensorflow as tf

    info = read_patches_info(data_dir)
    if batch_size < 1 or start_step < 0:
        raise InputError(
            f"batch size {batch_size}, start step {start_step}: want at least 1 and 0"
        )

    def scaled(images):
        return tf.cast(images, tf.float32) / 127.5 - 1.0

    def scale(batch):
        images, masks = batch
        return scaled(images), tf.cast(masks > 127, tf.float32)

    domains, damages = [], []
    for domain in DOMAINS:
        name = require_domain(data_dir, info, split, domain)
        shards, lost = usable_shards(
            data_dir, info.shards, name, _decoder(info), skip_corrupt_records, "patches"
        )
        if record_count(shards) < batch_size:
            raise InputError(
                f"split {split!r} of {os.fspath(data_dir)} has {record_count(shards)} "
                f"{domain} patches, fewer than one batch of {batch_size}; take a "
                f"smaller batch or prepare more"
            )
        damages += lost
        dataset = record_batches(
            shards,
            _decoder(info),
            batch_size,
            shuffle=True,
            augment=True,
            repeat=True,
            seed=seed if domain == "pathology" else seed ^ _OTHER_SEED,
            start_step=start_step,
            scale=scale,
        )
        domains.append(dataset)

    def together(healthy, pathology):
        return {"healthy": healthy[0], "pathology": pathology[0], "mask": pathology[1]}

    dataset = tf.data.Dataset.zip(tuple(domains)).map(together)
    dataset = dataset.with_options(reading_options())
    dataset.damages = tuple(damages)
    return dataset


def require_domain(
    data_dir: str | os.PathLike, info: PatchesInfo, split: str, domain: str
) -> str:
    """The domain's split in TensorFlow Datasets; InputError if there is no patch."""
    name = f"{split}_{domain}"
    if not info.counts.get(name):
        known = ", ".join(f"{n} {name}" for name, n in info.counts.items())
        raise InputError(
            f"{os.fspath(data_dir)} has no {domain} patch in split {split!r}; it has: "
            f"{known}"
        )
    return name


def read_patches(
    data_dir: str | os.PathLike,
    split: str,
    domain: str,
    *,
    skip_corrupt_records: bool = False,
) -> Iterator[dict[str, Any]]:
    """Reads all features of a domain of a split, in the order they were written.

    Args:
        data_dir: a folder that `prepare_patches` wrote.
        split: "train", "validation" or "test".
        domain: "healthy" or "pathology".
        skip_corrupt_records: bool. As of `load_patches`.

    Yields:
        dicts of
        image: np.uint8 [S, S, 3];
        mask: bool [S, S], the pathology;
        twin: np.uint8 [S, S, 3], the same scene without it, for judging; else None;
        image_id, case_id, condition, source: str;
        skin_share, pathology_share: float, 0…1;
        window: np.float32 [4], normalised to the photo.

    Raises:
        InputError: as of `load_patches`.
    """
    import tensorflow as tf

    info = read_patches_info(data_dir)
    name = require_domain(data_dir, info, split, domain)
    shards, _ = usable_shards(
        data_dir, info.shards, name, _decoder(info), skip_corrupt_records, "patches"
    )
    features = patch_features(info.image_size)
    records = tf.data.TFRecordDataset([shard.path for shard in shards])
    records = records.map(features.deserialize_example).as_numpy_iterator()
    while True:
        try:
            patch = next(records)
        except StopIteration:
            return
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
            require_sound_patches(data_dir, split)
            raise
        twins = list(patch["twin"])
        yield {
            "image": patch["image"],
            "mask": patch["mask"][..., 0] > 127,
            "twin": twins[0] if twins else None,
            **{
                key: patch[key].decode()
                for key in ("image_id", "case_id", "condition", "source")
            },
            **{key: float(patch[key]) for key in ("skin_share", "pathology_share")},
            "window": patch["window"],
        }


def require_sound_patches(data_dir: str | os.PathLike, split: str) -> None:
    """Raises InputError for the first corrupt record, if the split has one."""
    info = read_patches_info(data_dir)
    for domain in DOMAINS:
        name = require_domain(data_dir, info, split, domain)
        require_sound_shards(data_dir, info.shards, name, _decoder(info), "patches")


def patch_features(image_size: int):
    """The feature specification of a patch, as `tfds.features.FeaturesDict`."""
    import tensorflow_datasets as tfds

    def png(channels):
        shape = (image_size, image_size, channels)
        return tfds.features.Image(shape=shape, encoding_format="png")

    return tfds.features.FeaturesDict(
        {
            "image": png(3),
            "mask": png(1),
            "twin": tfds.features.Sequence(png(3)),  # none or one
            "image_id": tfds.features.Text(),
            "case_id": tfds.features.Text(),
            "condition": tfds.features.Text(),
            "skin_share": tfds.features.Scalar(np.float32),
            "pathology_share": tfds.features.Scalar(np.float32),
            "window": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "source": tfds.features.Text(),
        }
    )


def _decoder(info: PatchesInfo):
    return lambda record: _decode(record, info.image_size)


def _decode(record, size: int):
    """Image and mask of a record, uint8 [S, S, 3] and [S, S, 1]."""
    import tensorflow as tf

    feature = tf.io.FixedLenFeature([], tf.string)
    channels = {"image": 3, "mask": 1}
    parsed = tf.io.parse_single_example(record, dict.fromkeys(channels, feature))
    return tuple(
        tf.ensure_shape(tf.io.decode_png(parsed[key], channels=c), (size, size, c))
        for key, c in channels.items()
    )
