"""Painting many images on the workers of Apache Beam; see `dermgan_tf.beam_runs`."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from apache_beam.utils.shared import Shared
from etils import epath

from dermgan_tf.beam_runs import BeamRun, run_parts
from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import BATCH_SIZE, make_folders, paint_files
from dermgan_tf.generation.plan import ImageSpec
from dermgan_tf.models.dermgan.served import SavedGenerator, load_generator
from dermgan_tf.progress import silent

# Images of a part: whole batches, few enough for many workers.
MAX_IMAGES, MIN_PARTS = 16 * BATCH_SIZE, 16


def write_images_by_beam(
    saved_model: str,
    generator: SavedGenerator,
    specs: Iterable[ImageSpec],
    total: int,
    folder: pathlib.Path,
    run: BeamRun,
    write_maps: bool = False,
    progress: Callable = silent,
) -> int:
    """`dermgan_tf.generation.painting.write_images`, with the same files.

    Args:
        saved_model: str. A path that all workers reach. It is loaded once in each of
            their processes.
        generator: the same, loaded here.
        specs: what to paint.
        total: int. How many specs come.
        folder: pathlib.Path of this machine, for generated.jsonl.
        run: where; its folder gets the images.
        write_maps: bool. Whether maps/000000.png … are written too.
        progress: see `dermgan_tf.progress`.

    Returns:
        How many images were written.
    """
    make_folders(epath.Path(run.folder), write_maps)
    make_worker = functools.partial(
        _Painter, saved_model, generator.fingerprint, run.folder, write_maps, Shared()
    )
    size = -(-total // (MIN_PARTS * BATCH_SIZE)) * BATCH_SIZE
    parts = _numbered(specs, max(1, min(size, MAX_IMAGES)))
    count = 0
    with open(folder / "generated.jsonl", "w", encoding="utf-8") as file:
        for lines in run_parts(make_worker, parts, run, progress, "painting"):
            file.writelines(lines)
            count += len(lines)
    return count


def _numbered(
    specs: Iterable[ImageSpec], size: int
) -> Iterator[list[tuple[int, ImageSpec]]]:
    numbered = iter(enumerate(specs))
    while part := list(itertools.islice(numbered, size)):
        yield part


class _Painter:
    """A worker's work: paints the specs of a part and writes their files."""

    def __init__(
        self,
        saved_model: str,
        fingerprint: str,
        folder: str,
        write_maps: bool,
        shared: Shared,
    ):
        # The threads of a process share one.
        self._generator = shared.acquire(functools.partial(load_generator, saved_model))
        if self._generator.fingerprint != fingerprint:
            raise InputError(
                f"{saved_model} is another generator for a worker than it was at the "
                "start: give a path that is the same for all"
            )
        self._folder, self._write_maps = epath.Path(folder), write_maps

    def do(self, number: int, part: Sequence[tuple[int, ImageSpec]]) -> list[Any]:
        specs = [spec for _, spec in part]
        first, lines = part[0][0], []
        for line, files in paint_files(self._generator, specs, first, self._write_maps):
            for name, data in files.items():
                (self._folder / name).write_bytes(data)
            lines.append(line)
        return lines

    def close(self) -> None:
        """What the threads share stays."""
