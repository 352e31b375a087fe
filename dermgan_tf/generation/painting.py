"""Paints synthetic images with an exported generator, and files their provenance."""

import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dermgan_tf.generation.plan import ImageSpec, Sweep
from dermgan_tf.models.dermgan.served import SavedGenerator
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png, read_photo
from dermgan_tf.progress import silent

BATCH_SIZE = 16  # images painted per call: large enough to hide the call's own cost
SHEET_CELL = (96, 192)  # least and greatest side of a sheet's cells, in pixels


def paint_specs(
    generator: SavedGenerator, specs: Iterable[ImageSpec], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[ImageSpec, np.ndarray, np.ndarray]]:
    """Paints specs one batch at a time, so that memory does not grow with their number.

    Args:
        generator: the loaded generator.
        specs: what to paint.
        batch_size: int. Images per call; does not change them.

    Yields:
        (spec, semantic_map, image), both np.uint8 [S, S, 3].

    Raises:
        InputError: for a spec that does not fit the generator's vocabulary.
    """
    specs = iter(specs)
    while batch := list(itertools.islice(specs, batch_size)):
        maps = np.stack(
            [s.semantic_map(generator.image_size, generator.vocabulary) for s in batch]
        )
        images = generator.paint(maps, [spec.seed for spec in batch])
        yield from zip(batch, maps, images, strict=True)


def write_images(
    generator: SavedGenerator,
    specs: Iterable[ImageSpec],
    folder: str | os.PathLike,
    total: int | None = None,
    write_maps: bool = False,
    progress: Callable = silent,
) -> int:
    """Paints specs and files each image as soon as it is there.

    Writes images/000000.png … with provenance texts, and generated.jsonl, one object an
    image: image, condition, fitzpatrick, boxes, seed, generator, source ("synthetic"),
    and semantic_map where maps are written. It is no annotations file, so that nothing
    takes these images for photographs.

    Args:
        generator: the loaded generator.
        specs: what to paint.
        folder: an existing folder.
        total: int. How many specs come, for the progress bar.
        write_maps: bool. Whether maps/000000.png … are written too.
        progress: see `dermgan_tf.progress`.

    Returns:
        How many images were written.
    """
    folder = pathlib.Path(folder)
    make_folders(folder, write_maps)
    painted = paint_files(generator, specs, write_maps=write_maps)
    return file_painted(painted, folder, total, progress)


def file_painted(
    painted: Iterable[tuple[str, dict[str, bytes]]],
    folder: pathlib.Path,
    total: int | None = None,
    progress: Callable = silent,
) -> int:
    """Files what `paint_files` yields, and generated.jsonl; returns how many images."""
    count = 0
    with open(folder / "generated.jsonl", "w", encoding="utf-8") as lines:
        for line, files in progress(painted, total=total, desc="painting"):
            for name, data in files.items():
                (folder / name).write_bytes(data)
            lines.write(line)
            count += 1
    return count


def make_folders(folder: Any, write_maps: bool) -> None:
    """Makes the folders of the files of `paint_files`; any kind of path."""
    for name in ("images", "maps") if write_maps else ("images",):
        (folder / name).mkdir(parents=True, exist_ok=True)


def paint_files(
    generator: SavedGenerator,
    specs: Iterable[ImageSpec],
    first: int = 0,
    write_maps: bool = False,
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Paints specs, as files with their line of generated.jsonl; see `write_images`.

    Args:
        generator: the loaded generator.
        specs: what to paint.
        first: int. The number of the first image.
        write_maps: bool. Whether there are files of the maps, too.

    Yields:
        (line, {path in the folder: content}).
    """
    for number, (spec, semantic_map, image) in enumerate(
        paint_specs(generator, specs), first
    ):
        name = f"{number:06d}.png"
        files = {
            f"images/{name}": encode_png(image, generator.provenance(**spec.texts()))
        }
        line = {
            "image": f"images/{name}",
            "condition": spec.condition,
            "fitzpatrick": spec.fitzpatrick,
            "boxes": spec.boxes,
            "seed": spec.seed,
            "generator": generator.fingerprint,
            "source": "synthetic",
        }
        if write_maps:
            files[f"maps/{name}"] = encode_png(semantic_map)
            line["semantic_map"] = f"maps/{name}"
        yield json.dumps(line, ensure_ascii=False) + "\n", files


def write_sweep(
    generator: SavedGenerator,
    sweep: Sweep,
    folder: str | os.PathLike,
    write_maps: bool = False,
    progress: Callable = silent,
) -> int:
    """Paints a sweep: single images as `write_images` does, and sheet.png.

    Args:
        generator: the loaded generator.
        sweep: from `plan_sweep`, with the generator's vocabulary.
        folder: an existing folder.
        write_maps: bool. Whether the maps are written as files of their own, too.
        progress: see `dermgan_tf.progress`.

    Returns:
        How many images were written, the sheet not counted.
    """
    folder = pathlib.Path(folder)
    specs = sweep.image_specs()
    count = write_images(generator, specs, folder, len(specs), write_maps, progress)
    files = {spec: f"images/{i:06d}.png" for i, spec in enumerate(specs)}
    sheet = _sheet(generator, sweep, lambda spec: read_photo(folder / files[spec]))
    data = encode_png(sheet, generator.provenance(sweep=sweep.title))
    (folder / "sheet.png").write_bytes(data)
    return count


def paint_sheet(generator: SavedGenerator, sweep: Sweep) -> np.ndarray:
    """Paints the contact sheet of a sweep, and files nothing.

    Returns:
        np.uint8 [H, W, 3], RGB.
    """
    specs = sweep.image_specs()
    images = {spec: image for spec, _, image in paint_specs(generator, specs)}
    return _sheet(generator, sweep, images.get)


def _sheet(
    generator: SavedGenerator, sweep: Sweep, image_of: Callable[[ImageSpec], np.ndarray]
) -> np.ndarray:
    size, vocabulary = generator.image_size, generator.vocabulary
    name = generator.fingerprint[:8]
    return contact_sheet(
        [
            [
                spec.semantic_map(size, vocabulary) if shows_map else image_of(spec)
                for spec, shows_map in row
            ]
            for row in sweep.rows
        ],
        row_labels=sweep.row_labels,
        column_labels=sweep.column_labels,
        title=f"Synthetic images: {sweep.title} (generator {name})",
        cell=sheet_cell(size),
    )


def sheet_cell(image_size: int) -> int:
    """The side of a sheet's cells, in pixels, for images of that side."""
    least, greatest = SHEET_CELL
    # Small images are enlarged by a whole number, so that their pixels stay squares.
    return min(image_size * math.ceil(least / image_size), greatest)
