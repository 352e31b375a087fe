"""Paints photographs from noise with an exported generator, and files where from.

Beside single images: film strips from one seed to the next, and sheets that show what
training photograph each image is nearest to.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import (
    BATCH_SIZE,
    file_painted,
    make_folders,
    sheet_cell,
)
from dermgan_tf.models.unconditional.served import UnconditionalGenerator
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.progress import silent

MAX_SEED = 2**31 - 1
SHEET_COLUMNS = 8


def seeds_from(first: int, count: int) -> range:
    """`count` seeds that count up; InputError where they leave int32 or are none."""
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    if first < 0 or first + count - 1 > MAX_SEED:
        raise InputError(
            f"seeds {first} to {first + count - 1} are not within 0 to {MAX_SEED}"
        )
    return range(first, first + count)


def require_truncation(truncation: float) -> None:
    """Raises InputError unless it is 0…1."""
    if not 0 <= truncation <= 1:
        raise InputError(f"truncation must be 0 to 1, got {truncation:g}")


def paint_seeds(
    generator: UnconditionalGenerator, seeds: Iterable[int], truncation: float = 1.0
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (seed, image np.uint8 [S, S, 3]), painted a batch at a time."""
    seeds = iter(seeds)
    while batch := list(itertools.islice(seeds, BATCH_SIZE)):
        yield from zip(batch, generator.paint(batch, truncation), strict=True)


def write_seeds(
    generator: UnconditionalGenerator,
    seeds: Sequence[int],
    folder: str | os.PathLike,
    truncation: float = 1.0,
    progress: Callable = silent,
) -> int:
    """Paints seeds and files each image as soon as it is there.

    Writes images/000000.png … with provenance texts, and generated.jsonl, one object an
    image: image, seed, truncation, generator, source ("synthetic").

    Args:
        generator: the loaded generator.
        seeds: ints.
        folder: an existing folder.
        truncation: float, 0…1.
        progress: see `dermgan_tf.progress`.

    Returns:
        How many images were written.
    """
    require_truncation(truncation)
    folder = pathlib.Path(folder)
    make_folders(folder, write_maps=False)

    def files():
        for number, (seed, image) in enumerate(
            paint_seeds(generator, seeds, truncation)
        ):
            name = f"images/{number:06d}.png"
            text = generator.provenance(seed=seed, truncation=truncation)
            line = {
                "image": name,
                "seed": seed,
                "truncation": truncation,
                "generator": generator.fingerprint,
                "source": "synthetic",
            }
            yield json.dumps(line) + "\n", {name: encode_png(image, text)}

    return file_painted(files(), folder, len(seeds), progress)


def between(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Latents on the way from one to another, both ends among them.

    Spherical interpolation (Shoemake 1985; for latents White 2016, arXiv 1609.04468):
    the direction turns evenly, the length changes evenly. On a straight line latents in
    the middle would be shorter than any in training.

    Args:
        a, b: float [L].
        count: int ≥ 2.

    Returns:
        np.float32 [count, L].
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    shares = np.linspace(0, 1, count)[:, np.newaxis]
    straight = (1 - shares) * a + shares * b
    angle = 0.0
    if min(lengths) > 0:
        cosine = np.dot(a, b) / (lengths[0] * lengths[1])
        angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    if sine < 1e-6:  # one direction, or opposite ones, between which no way is shortest
        return straight.astype(np.float32)
    ways = (
        np.sin((1 - shares) * angle) / sine * a / lengths[0]
        + np.sin(shares * angle) / sine * b / lengths[1]
    )
    scaled = ways * ((1 - shares) * lengths[0] + shares * lengths[1])
    return scaled.astype(np.float32)


def film_strips(
    generator: UnconditionalGenerator,
    seeds: Sequence[int],
    frames: int = 8,
    truncation: float = 1.0,
) -> np.ndarray:
    """A sheet with a row for each two neighbouring seeds, and what lies between them.

    Args:
        generator: the loaded generator.
        seeds: at least two ints.
        frames: int ≥ 2. Images a row, both seeds' own among them.
        truncation: float, 0…1.

    Returns:
        np.uint8 [H, W, 3].

    Raises:
        InputError: for too few seeds or frames, or a bad truncation.
    """
    require_truncation(truncation)
    if len(seeds) < 2 or frames < 2:
        raise InputError(
            f"a film strip goes from one seed to another in two frames or more, got "
            f"{len(seeds)} seeds and {frames} frames"
        )
    latents = generator.latents(seeds, truncation)
    rows = [
        list(generator.paint_latents(between(a, b, frames)))
        for a, b in itertools.pairwise(latents)
    ]
    return contact_sheet(
        rows,
        row_labels=[f"seed {a}\nto {b}" for a, b in itertools.pairwise(seeds)],
        title=f"SYNTHETIC images between seeds (generator {generator.fingerprint[:8]})",
        cell=sheet_cell(generator.image_size),
    )


def seeds_sheet(
    generator: UnconditionalGenerator, seeds: Sequence[int], truncation: float = 1.0
) -> np.ndarray:
    """A sheet of the images of seeds, eight a row: np.uint8 [H, W, 3]."""
    require_truncation(truncation)
    images = [image for _, image in paint_seeds(generator, seeds, truncation)]
    starts = range(0, len(images), SHEET_COLUMNS)
    return contact_sheet(
        [images[i : i + SHEET_COLUMNS] for i in starts],
        row_labels=[f"seed {seeds[i]}…" for i in starts],
        title=f"SYNTHETIC images, truncation {truncation:g} "
        f"(generator {generator.fingerprint[:8]})",
        cell=sheet_cell(generator.image_size),
    )
