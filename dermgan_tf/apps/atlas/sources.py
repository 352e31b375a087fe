"""Where an atlas' images come from: annotated photos, pairs, what `generate` painted.

Each source gives items in an order of its own that does not change. Provenance comes
from what the data say of themselves, never from a flag.
"""

import dataclasses
import functools
import hashlib
import hmac
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dermgan_tf.apps.atlas.about import checked_conditions
from dermgan_tf.apps.atlas.pictures import content_digest, encode_picture, shrunk
from dermgan_tf.errors import InputError, Reject, cause
from dermgan_tf.generation.folder import read_generated, read_generated_image
from dermgan_tf.photos.annotations import case_splits, read_annotations
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.isolated_map import Lost, isolated_map
from dermgan_tf.photos.photo_io import MAX_BYTES, is_synthetic, printable, read_photo


@dataclasses.dataclass(frozen=True)
class Item:
    """An image that is to be stored, not yet read.

    Args:
        name: str. For the owner's list of rejects.
        condition: str.
        fitzpatrick: int, 0…6; 0 = unknown.
        provenance: "real", "phantom" or "synthetic".
        case: str; "" of a synthetic image.
        split: "train", "validation", "test" or "synthetic".
        generator: str. Of a synthetic image, the fingerprint of its weights.
        path: str. Its file; "" of an image in `pixels`.
        pixels: np.uint8 [H, W, 3], or None.
    """

    name: str
    condition: str
    fitzpatrick: int
    provenance: str
    case: str
    split: str
    generator: str = ""
    path: str = ""
    pixels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Read:
    """An item's image as it is stored.

    Args:
        item: without its pixels.
        id: str. 32 hexadecimal digits of the pixels' digest.
        file_digest: str. Of its file; "" of an image of no file.
        picture: np.uint8 [h, w, 3], shrunk; what is embedded. None if the file's digest
            was known, and it was not decoded.
        data, media_type: the file to keep.
        width, height: ints. Pixels of that file's picture.
        problem: str. Why there is no image; "" if there is one.
    """

    item: Item
    id: str = ""
    file_digest: str = ""
    picture: np.ndarray | None = None
    data: bytes = b""
    media_type: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of images.

    Args:
        name: str. For messages.
        conditions: those that may occur.
        total: int. How many items come.
        files: the items that are files.
        stream: gives the items that are not, one after another.
        rejects: what is bad already.
        synthetic: bool. Whether it is a folder of `generate`.
        fingerprint: str. Of pairs; "" of others.
        anonymized_ids: bool. Whether its case ids are hashes already.
    """

    name: str
    conditions: tuple[str, ...]
    total: int
    files: Sequence[Item] = ()
    stream: Callable[[], Iterator[Item]] = lambda: iter(())
    rejects: Sequence[Reject] = ()
    synthetic: bool = False
    fingerprint: str = ""
    anonymized_ids: bool = False


def annotations_source(path: str | os.PathLike) -> Source:
    """The photos of an annotations.jsonl, those without boxes among them."""
    name = os.fspath(path)
    found, rejects = read_annotations(name)
    if not found and not rejects:
        raise InputError(f"{name} describes no photo")
    splits = case_splits(found)
    folder = os.path.dirname(os.path.abspath(name))
    files = [
        Item(
            printable(one.image),
            one.condition,
            one.fitzpatrick,
            one.source,
            one.case_id,
            splits[one.case_id],
            path=os.path.join(folder, one.image),
        )
        for one in found
    ]
    conditions = tuple(sorted({one.condition for one in found}))
    return Source(name, conditions, len(files) + len(rejects), files, rejects=rejects)


def pairs_source(data_dir: str | os.PathLike) -> Source:
    """The crops of all splits of a pairs folder."""
    from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info

    name = os.fspath(data_dir)
    info = read_pairs_info(data_dir)

    def stream() -> Iterator[Item]:
        for split in info.counts:
            for place, pair in enumerate(read_pairs(data_dir, split)):
                item = f"{split}/{place}"
                if pair["source"] == "synthetic":
                    raise InputError(
                        f"{name}: crop {item} is synthetic; synthetic images come by "
                        "--synthetic_dir only"
                    )
                yield Item(
                    item,
                    pair["condition"],
                    pair["fitzpatrick"],
                    pair["source"],
                    pair["case_id"],
                    split,
                    pixels=pair["image"],
                )

    return Source(
        name,
        tuple(info.vocabulary),
        sum(info.counts.values()),
        stream=stream,
        fingerprint=info.fingerprint,
        anonymized_ids=info.anonymized_ids,
    )


def generated_source(folder: str | os.PathLike) -> Source:
    """The images that `generate` wrote; each must say itself that it is synthetic."""
    lines = read_generated(folder)
    files = [
        Item(
            printable(line["image"]),
            line["condition"],
            line["fitzpatrick"],
            "synthetic",
            "",
            "synthetic",
            line["generator"],
            os.path.join(folder, line["image"]),
        )
        for line in lines
    ]
    conditions = tuple(sorted({line["condition"] for line in lines}))
    name = os.fspath(folder)
    return Source(name, conditions, len(files), files, synthetic=True)


def common_vocabulary(
    sources: Sequence[Source],
    given: Sequence[str] | None = None,
    stored: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The conditions of an atlas, and of all of its sources.

    They are those that are `given`; else those of the atlas that is added to; else
    those of the first source, pairs before annotations before synthetic images. Names
    that differ by a slip would part what belongs together, so none is added silently.

    Raises:
        InputError: for a source with another condition, naming both.
    """
    order = sorted(sources, key=lambda one: (one.synthetic, not one.fingerprint))
    names, where = stored, "the atlas"
    if given is not None:
        names, where = given, "--conditions"
        missing = [name for name in stored or () if name not in given]
        if missing:
            raise InputError(
                f"--conditions lacks {missing[0]!r}, which the atlas has; name all"
            )
    elif stored is None:
        names, where = order[0].conditions, order[0].name
    names = checked_conditions(names, where)
    for source in order:
        for condition in source.conditions:
            if condition not in names:
                raise InputError(
                    f"vocabularies differ: {source.name} has {condition!r}, {where} "
                    f"has {_listed(names)}; if both are meant, name all conditions by "
                    "--conditions"
                )
    return names


def read_files(
    items: Sequence[Item],
    known: frozenset[str],
    picture_size: int,
    salt: bytes | None,
    workers: int,
) -> Iterator[Read]:
    """Reads files in processes of their own, which a damaged one may crash, in order.

    Args:
        items: with paths.
        known: digests of files that need not be decoded again.
        picture_size: int. Pixels of the longer side that is kept.
        salt: of ids that are to be anonymized.
        workers: int ≥ 1. Processes.
    """
    work = functools.partial(_read_file, known, picture_size, salt)
    results = isolated_map(work, items, max(1, workers), _one_thread)
    try:
        for item, result in zip(items, results, strict=True):
            if isinstance(result, Lost):
                result = Read(item, problem=result.reason)
            yield result
    finally:
        results.close()


def read_pixels(item: Item, picture_size: int, salt: bytes | None) -> Read:
    """What `read_files` gives, of an item with pixels."""
    return _stored(item, item.pixels, "", picture_size, salt)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes are as many as the cores


def _read_file(
    known: frozenset[str], picture_size: int, salt: bytes | None, item: Item
) -> Read:
    try:
        digest = _keyed(_file_digest(item.path), salt)
        if digest and digest in known:
            return Read(item, file_digest=digest)
        if item.provenance == "synthetic":
            line = {"generator": item.generator, "condition": item.condition}
            pixels = read_generated_image(pathlib.Path(item.path), line)
        elif is_synthetic(item.path):
            raise InputError(
                "is a synthetic image, not a photo; synthetic images come by "
                "--synthetic_dir only"
            )
        else:
            pixels = read_photo(item.path)
        return _stored(item, pixels, digest, picture_size, salt)
    except InputError as error:
        return Read(item, problem=cause(error, item.path))
    except MemoryError:
        raise
    # One bad photo must not end the build, whatever its decoder raises.
    except Exception as error:  # noqa: BLE001
        return Read(item, problem=" ".join(f"{type(error).__name__}: {error}".split()))


def _stored(
    item: Item,
    pixels: np.ndarray,
    file_digest: str,
    picture_size: int,
    salt: bytes | None,
) -> Read:
    picture = shrunk(pixels, picture_size)
    data, media_type, (height, width) = encode_picture(
        picture, item.provenance, item.condition, item.generator
    )
    case = item.case
    if salt is not None and case:
        case = anonymous_case_id(case, salt)
    return Read(
        dataclasses.replace(item, pixels=None, case=case),
        _keyed(content_digest(pixels), salt),
        file_digest,
        picture,
        data,
        media_type,
        width,
        height,
    )


def _keyed(digest: bytes, salt: bytes | None) -> str:
    """Hexadecimal; under a salt, who has the photo cannot look for it."""
    if not digest:
        return ""
    if salt is not None:
        digest = hmac.new(salt, b"atlas" + digest, hashlib.sha256).digest()[:16]
    return digest.hex()


def salt_check(salt: bytes | None) -> str:
    """What tells whether two salts are one, and nothing of either; "" of none."""
    if salt is None:
        return ""
    return hmac.new(salt, b"image atlas", hashlib.sha256).hexdigest()[:16]


def _file_digest(path: str) -> bytes:
    """16 bytes of a file's SHA-256; none of what `read_photo` refuses."""
    if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
        return b""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return b""
    return digest.digest()[:16]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names)
    return shown if len(shown) <= 200 else f"{shown[:200]} …"
