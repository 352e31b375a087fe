"""Builds an atlas, or adds to one: reads, embeds, stores; goes on after a kill.

What is stored is not embedded again, and no file of it is even decoded again. Rows are
committed by the thousand; a kill loses the images since the last commit, which the next
run reads anew.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from dermgan_tf.apps.atlas.about import (
    BUILDING,
    About,
    checked_conditions,
    require_same_embedding,
)
from dermgan_tf.apps.atlas.sources import (
    Read,
    Source,
    common_vocabulary,
    read_files,
    read_pixels,
    salt_check,
)
from dermgan_tf.apps.atlas.store import (
    IMAGES,
    INDEX_FROM,
    AtlasStore,
    Facts,
    NewImage,
    connect,
    has_atlas,
)
from dermgan_tf.apps.atlas.vectors import NETWORKS, unit_vectors
from dermgan_tf.errors import InputError, Reject, check_reject_fraction
from dermgan_tf.progress import silent
from dermgan_tf.remote_storage import is_remote

COMMIT_EVERY = 1024  # images
_AT_ONCE = 256  # images that are embedded together
_COMMIT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an atlas is built.

    Args:
        title: str. What pages show above.
        conditions: the vocabulary; None = see `common_vocabulary`.
        picture_size: int. Pixels of the longer side of what is kept.
        embedding_flag: str. How the user named the embedding.
        salt: bytes. With it case ids and digests are hashes under it.
        max_reject_fraction: float, 0…1.
        commit_every: int ≥ 1. Images.
        batch_size: int ≥ 1. Images that go through the network together.
        workers: int ≥ 1. Processes that decode; None = one a core.
        index_from: int. Images from which on there is an index.
    """

    title: str = "Image atlas"
    conditions: Sequence[str] | None = None
    picture_size: int = 256
    embedding_flag: str = "colour_texture"
    salt: bytes | None = None
    max_reject_fraction: float = 0.1
    commit_every: int = COMMIT_EVERY
    batch_size: int = 32
    workers: int | None = None
    index_from: int = INDEX_FROM


@dataclasses.dataclass
class Outcome:
    """What came of a build: counts of images, and of those left out.

    Args:
        images: int. In the atlas now.
        added: int. By this run.
        known: int. Were stored before this run.
        doubled: int. Stood twice among the sources.
        rejects: bad items.
        notes: items whose labels differ from what is stored of the same image.
        indexed: bool. Whether there is an index for approximate search.
    """

    images: int = 0
    added: int = 0
    known: int = 0
    doubled: int = 0
    rejects: list[Reject] = dataclasses.field(default_factory=list)
    notes: list[Reject] = dataclasses.field(default_factory=list)
    indexed: bool = False


def open_for_build(
    path: str | os.PathLike, sources: Sequence[Source], embedding, settings: Settings
) -> AtlasStore:
    """The store to build in: a new one, or the one that is gone on with.

    Raises:
        InputError: for sources or an atlas that do not go with these settings.
    """
    where = os.fspath(path)
    for source in sources:
        if settings.salt is not None and source.anonymized_ids:
            raise InputError(
                f"{source.name}: its ids are anonymized already; leave out "
                "--anonymize_ids"
            )
    stored = AtlasStore(path, ready=False) if has_atlas(path) else None
    names = None if stored is None else stored.about.conditions
    vocabulary = common_vocabulary(sources, settings.conditions, names)
    if stored is None:
        _require_new(path)
        return AtlasStore.create(
            path,
            About(
                settings.title,
                checked_conditions(vocabulary, where),
                embedding.describe(),
                settings.embedding_flag if _named(settings.embedding_flag) else "",
                settings.picture_size,
                salt_check(settings.salt),
            ),
        )
    about = stored.about
    require_same_embedding(about, embedding, where)
    if about.salt_check != salt_check(settings.salt):
        how = "with other ids: give the --anonymize_ids and the salt of then"
        if not about.salt_check:
            how = "without --anonymize_ids: leave it out"
        raise InputError(f"{where} was begun {how}, or a case would stand in it twice")
    if about.picture_size != settings.picture_size:
        raise InputError(
            f"{where} keeps pictures of {about.picture_size} pixels, not "
            f"{settings.picture_size}; give --picture_size={about.picture_size}"
        )
    stored.write_about(
        dataclasses.replace(about, conditions=vocabulary, state=BUILDING)
    )
    return stored


def build_atlas(
    store: AtlasStore,
    sources: Sequence[Source],
    embedding,
    settings: Settings,
    progress: Callable = silent,
) -> Outcome:
    """Adds the images of sources to an atlas, and finishes it.

    Args:
        store: from `open_for_build`; no other process may add to it meanwhile.
        sources: see `dermgan_tf.apps.atlas.sources`.
        embedding: has `embed`, of the atlas.
        settings: see there.
        progress: see `dermgan_tf.progress`.

    Raises:
        TooManyRejects: if too many images are bad. The good ones are stored, the atlas
            stays unfinished.
        InputError: for sources without images.
    """
    # Synthetic ones first: then an unmarked copy among photographs is known when it
    # comes, for what it is.
    sources = sorted(sources, key=lambda one: not one.synthetic)
    outcome = Outcome(rejects=[r for source in sources for r in source.rejects])
    writer = _Writer(store, embedding, settings, outcome)
    total = sum(source.total - len(source.rejects) for source in sources)
    with contextlib.closing(_read(sources, writer.files, settings)) as reading:
        shown = iter(progress(reading, total=total, desc="reading and embedding"))
        while batch := list(itertools.islice(shown, _AT_ONCE)):
            writer.take(batch)
    writer.commit()
    where = " and ".join(source.name for source in sources)
    everything = total + sum(len(source.rejects) for source in sources)
    check_reject_fraction(
        outcome.rejects, everything, settings.max_reject_fraction, where
    )
    store.finish(settings.index_from)
    outcome.images, outcome.indexed = store.about.images, bool(store.about.indexed)
    return outcome


class _Writer:
    """Gathers images, tells apart what is new, embeds that and commits it."""

    def __init__(
        self, store: AtlasStore, embedding, settings: Settings, outcome: Outcome
    ):
        self._store, self._embedding = store, embedding
        self._settings, self._outcome = settings, outcome
        self._labels, files = store.known()
        self.files = frozenset(files)
        self._ids_of_files = files
        self._before = frozenset(self._labels)
        self._rows: list[NewImage] = []
        self._since = time.monotonic()

    def take(self, batch: Sequence[Read]) -> None:
        new = [read for read in batch if self._is_new(read)]
        if new:
            pictures = [read.picture for read in new]
            vectors = unit_vectors(
                self._embedding.embed(pictures, self._settings.batch_size)
            )
            self._rows += [_row(r, v) for r, v in zip(new, vectors, strict=True)]
        late = time.monotonic() - self._since > _COMMIT_SECONDS
        if late or len(self._rows) >= self._settings.commit_every:
            self.commit()

    def commit(self) -> None:
        every = self._settings.commit_every
        for start in range(0, len(self._rows), every):
            part = self._rows[start : start + every]
            self._store.add(part)
            self._outcome.added += len(part)
        self._rows, self._since = [], time.monotonic()

    def _is_new(self, read: Read) -> bool:
        item, outcome = read.item, self._outcome
        if read.problem:
            outcome.rejects.append(Reject(item.name, read.problem))
            return False
        image_id = read.id or self._ids_of_files[read.file_digest]
        labels = (item.condition, item.fitzpatrick, item.provenance)
        stored = self._labels.get(image_id)
        if stored is None:
            self._labels[image_id] = labels
            return True
        if stored[2] != "synthetic" and item.provenance == "synthetic":
            return self._replaces(image_id, read, labels)
        if stored[2] == "synthetic" != item.provenance:
            outcome.rejects.append(
                Reject(
                    item.name,
                    "is pixel for pixel a synthetic image of the atlas, without its "
                    "mark; it is no photo",
                )
            )
            return False
        if image_id in self._before:
            outcome.known += 1
        else:
            outcome.doubled += 1
        if stored != labels:
            outcome.notes.append(
                Reject(
                    item.name,
                    f"is the same image as one stored as {_shown(stored)}; here "
                    f"it is {_shown(labels)}; what is stored stays",
                )
            )
        return False

    def _replaces(self, image_id: str, read: Read, labels: tuple) -> bool:
        """A synthetic image took its unmarked copy's place: that one goes."""
        if read.picture is None:  # known by its file, as what it was not
            return False
        self.commit()
        self._store.remove(image_id)
        self._labels[image_id] = labels
        self._outcome.notes.append(
            Reject(
                read.item.name,
                "was stored as a photo, from a source without its mark; it is stored "
                "as synthetic now",
            )
        )
        return True


def _row(read: Read, vector) -> NewImage:
    item = read.item
    return NewImage(
        Facts(
            read.id,
            item.condition,
            item.fitzpatrick,
            item.provenance,
            item.case,
            item.split,
            read.width,
            read.height,
        ),
        read.file_digest,
        item.generator,
        read.data,
        read.media_type,
        vector,
    )


def _read(
    sources: Iterable[Source], known: frozenset[str], settings: Settings
) -> Iterator[Read]:
    workers = settings.workers or os.cpu_count() or 1
    for source in sources:
        for item in source.stream():
            yield read_pixels(item, settings.picture_size, settings.salt)
        if source.files:
            yield from read_files(
                source.files, known, settings.picture_size, settings.salt, workers
            )


def _shown(labels: tuple) -> str:
    condition, fitzpatrick, provenance = labels
    return f"{condition}, skin type {fitzpatrick or 'unknown'}, {provenance}"


def _named(flag: str) -> bool:
    return flag == "colour_texture" or flag in NETWORKS


def _require_new(path: str | os.PathLike) -> None:
    """InputError for a folder of something else, or an atlas that lost its record."""
    if is_remote(path) or not os.path.isdir(path):
        return
    begun = {"images.lance", "about.lance"}
    others = sorted(set(os.listdir(path)) - begun)
    if others:
        raise InputError(
            f"output folder {os.fspath(path)} is not empty and no atlas (it has "
            f"{others[0]!r}); choose another"
        )
    rows = 0
    with contextlib.suppress(InputError, OSError, RuntimeError, ValueError):
        rows = connect(path).open_table(IMAGES).count_rows()
    if rows:
        raise InputError(
            f"{os.fspath(path)} is damaged: it has {rows} images and no record; "
            "build the atlas again into another folder"
        )
