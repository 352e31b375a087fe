"""Cutting pairs on the workers of Apache Beam; see `dermgan_tf.beam_runs`.

A part is a run of photos of one split, in the order of their ids, and gives a shard:
the same bytes whoever cuts it, and however often. The shards of a split in order hold
the records of the one-process path in its order.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from dermgan_tf.beam_runs import BeamRun, run_parts
from dermgan_tf.errors import Reject
from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.pairs.cutting import PhotoPairs
from dermgan_tf.pairs.pairs import SPLITS, pair_features
from dermgan_tf.pairs.records import (
    PAIRS,
    SHARD_BYTES,
    pair_record,
    serialized,
    sha256_of_file,
)
from dermgan_tf.photos.isolated_map import IsolatedCrew, Lost, one_thread
from dermgan_tf.photos.photo_io import MAX_BYTES
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.remote_storage import fetch, is_remote, put

# Photos of a part: few enough for many workers, and to lose little by a retry.
MAX_PHOTOS, MIN_PHOTOS, MIN_PARTS = 256, 16, 16
_PNG_SHARE = 0.6  # of the pixels' bytes, that a crop and its map take as PNGs
# Around a record in a TFRecord file: its length and two checksums.
_BEFORE, _AFTER = 12, 4


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a record stands in its shard, in bytes."""

    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class _PartResult:
    """What came of a part: its shard, None if it has no pair, and its photos.

    The images of the photos' pairs are the `_Place` of their record.
    """

    split: str
    file: str | None
    sha256: str
    bytes: int
    record_bytes: int
    outcomes: list[PhotoPairs]


class BeamPairs:
    """What `PairsWriter` is to one process: pairs cut and written by Beam's workers.

    Args:
        folder: pathlib.Path of this machine, for the metadata.
        vocabulary: the conditions of the maps.
        image_size: int. Height and width of crops and maps in pixels.
        run: where; its folder gets the shards.
        isolated: bool. Whether photos are decoded in processes of their own.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        vocabulary: Vocabulary,
        image_size: int,
        run: BeamRun,
        isolated: bool,
    ):
        self._folder, self._run = folder, run
        self._vocabulary, self._image_size = vocabulary, image_size
        self._isolated = isolated
        self._shards: dict[str, list[dict[str, Any]]] = {}
        self._record_bytes: dict[str, int] = {}

    def outcomes(
        self, work: Callable, jobs: Sequence[Any], progress: Callable[..., Iterable]
    ) -> Iterator[PhotoPairs]:
        """Cuts and writes; then yields each photo's outcome, split by split.

        Args:
            work: from a job to its outcome; can be pickled.
            jobs: in order of their ids.
            progress: see `dermgan_tf.progress`.

        Yields:
            PhotoPairs whose images are read when `bytes(…)` asks for them.
        """
        make_worker = functools.partial(
            _Cutter,
            work,
            self._vocabulary,
            self._image_size,
            self._run.folder,
            self._isolated,
        )
        parts = planned_parts(jobs, self._image_size, work.keywords)
        for part in run_parts(make_worker, parts, self._run, progress, "cutting"):
            pairs = sum(len(outcome.pairs) for outcome in part.outcomes)
            shard = {
                "file": part.file,
                "pairs": pairs,
                "bytes": part.bytes,
                "sha256": part.sha256,
            }
            if pairs:
                self._shards.setdefault(part.split, []).append(shard)
                self._record_bytes.setdefault(part.split, 0)
                self._record_bytes[part.split] += part.record_bytes
            for outcome in part.outcomes:
                for pair in outcome.pairs:
                    for key in ("image", "semantic_map"):
                        pair[key] = _Stored(self._run.folder, shard, pair[key], key)
                yield outcome

    def write(self, split: str, pairs: Iterable[dict[str, Any]]) -> None:
        """The workers have written them."""

    def finish(self) -> dict[str, Any]:
        """Names the shards; returns what `PairsWriter.finish` does."""
        shards = {}
        for split in sorted(self._shards, key=SPLITS.index):
            shards[split] = self._shards[split]
            for number, shard in enumerate(shards[split]):
                name = PAIRS.shard_name(split, number, len(shards[split]))
                source = epath.Path(self._run.folder) / shard["file"]
                source.rename(source.parent / name)
                shard["file"] = name
        features = pair_features(self._vocabulary, self._image_size)
        with self._names_here(shards):
            PAIRS.write_metadata(self._folder, features, shards, self._record_bytes)
        return {"fingerprint": PAIRS.fingerprint(shards), "shards": shards}

    @contextlib.contextmanager
    def _names_here(self, shards: dict[str, list[dict[str, Any]]]) -> Iterator[None]:
        """TensorFlow Datasets learns the names of shards by looking at their folder."""
        named = [
            self._folder / shard["file"] for own in shards.values() for shard in own
        ]
        absent = [path for path in named if not path.exists()]
        for path in absent:
            path.touch()
        yield
        for path in absent:
            path.unlink()


def planned_parts(
    jobs: Sequence[Any], image_size: int, settings: dict[str, Any]
) -> list[list[Any]]:
    """Cuts the list of photos into parts, each of one split.

    Args:
        jobs: in order of their ids.
        image_size: int, pixels.
        settings: what is asked of each photo; its crops are counted.
    """
    crops = settings["crops_per_photo"] + settings.get("healthy_crops_per_photo", 0)
    photo_bytes = _PNG_SHARE * 3 * image_size**2 * crops
    wanted = min(MAX_PHOTOS, max(MIN_PHOTOS, -(-len(jobs) // MIN_PARTS)))
    size = max(1, min(wanted, int(SHARD_BYTES / photo_bytes)))
    parts = []
    for split in SPLITS:
        own = [job for job in jobs if job.split == split]
        parts += [own[start : start + size] for start in range(0, len(own), size)]
    return parts


class _Stored:
    """A PNG inside a shard, read when it is needed."""

    def __init__(self, folder: str, shard: dict[str, Any], place: _Place, key: str):
        self._folder, self._shard = folder, shard  # its file gets another name
        self._place, self._key = place, key

    def __bytes__(self) -> bytes:
        import tensorflow as tf

        with (epath.Path(self._folder) / self._shard["file"]).open("rb") as file:
            file.seek(self._place.offset)
            record = file.read(self._place.length)
        features = tf.train.Example.FromString(record).features
        return features.feature[self._key].bytes_list.value[0]


class _Cutter:
    """A worker's work: cuts the photos of a part and writes their shard."""

    def __init__(self, work, vocabulary, image_size, folder, isolated):
        self._work, self._folder = work, folder
        self._features = pair_features(vocabulary, image_size)
        self._crew = None
        if isolated:
            _forget_beams_main()
            self._crew = IsolatedCrew(work, 1, one_thread)
        else:
            one_thread()

    def do(self, number: int, jobs: Sequence[Any]) -> _PartResult:
        with tempfile.TemporaryDirectory(prefix="dermgan-") as scratch:
            # A store takes whole files only; elsewhere a copy would be for nothing.
            remote = is_remote(self._folder)
            path = pathlib.Path(scratch if remote else self._folder)
            path /= f"{number:06d}-{uuid.uuid4().hex}.partial"
            try:
                sizes, outcomes = self._write(path, jobs, scratch)
                digest = sha256_of_file(path)
                length = path.stat().st_size
                # Should a part be done twice, each result finds its own shard.
                name = f"{number:06d}-{digest[:16]}.partial" if sizes else None
                if name and remote:
                    put(path, f"{self._folder}/{name}")
                elif name:
                    path.rename(path.with_name(name))
            finally:
                path.unlink(missing_ok=True)
        return _PartResult(jobs[0].split, name, digest, length, sum(sizes), outcomes)

    def close(self) -> None:
        if self._crew is not None:
            self._crew.close()

    def _write(
        self, path: pathlib.Path, jobs: Sequence[Any], scratch: str
    ) -> tuple[list[int], list[PhotoPairs]]:
        """Writes a shard; returns the sizes of its records, and the photos."""
        import tensorflow as tf

        sizes, outcomes, end = [], [], 0
        with (
            tensorflow_errors_as_os_errors(self._folder),
            tf.io.TFRecordWriter(str(path)) as writer,
            contextlib.closing(self._cut(jobs, scratch)) as cut,
        ):
            for outcome in cut:
                for pair in outcome.pairs:
                    record = serialized(self._features, pair_record(pair))
                    writer.write(record)
                    place = _Place(end + _BEFORE, len(record))
                    pair["image"] = pair["semantic_map"] = place
                    end += _BEFORE + len(record) + _AFTER
                    sizes.append(len(record))
                outcomes.append(outcome)
        return sizes, outcomes

    def _cut(self, jobs: Sequence[Any], scratch: str) -> Iterator[PhotoPairs]:
        jobs = _HereWhenAsked(jobs, scratch)
        results = self._crew.map(jobs) if self._crew else map(self._work, jobs)
        for number, result in enumerate(results):
            if isinstance(result, Lost):
                job = jobs.given(number)
                reject = Reject(job.photo.name, result.reason)
                result = PhotoPairs(job.image_id, job.split, reject=reject)
            yield result
            jobs.forget(number)


class _HereWhenAsked(Sequence):
    """Jobs whose photo is fetched to this machine when one is asked for."""

    def __init__(self, jobs: Sequence[Any], scratch: str):
        self._jobs, self._scratch = jobs, scratch

    def given(self, number: int) -> Any:
        return self._jobs[number]

    def forget(self, number: int) -> None:
        if self._elsewhere(number):
            shutil.rmtree(self._place(number), ignore_errors=True)

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> Any:
        job = self._jobs[number]
        if not self._elsewhere(number):
            return job
        photo = dataclasses.replace(job.photo, folder=self._place(number))
        os.makedirs(os.path.dirname(photo.path), exist_ok=True)
        # A photo that is missing is found to be so by who reads it.
        with contextlib.suppress(FileNotFoundError):
            fetch(job.photo.path, photo.path, MAX_BYTES)
        return dataclasses.replace(job, photo=photo)

    def _elsewhere(self, number: int) -> bool:
        return is_remote(getattr(self._jobs[number].photo, "folder", ""))

    def _place(self, number: int) -> str:
        return os.path.join(self._scratch, str(number))


def _forget_beams_main() -> None:
    """Keeps new processes from importing Beam, as Python has them import `__main__`."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name.startswith("apache_beam."):
        main.__spec__ = main.__file__ = None
