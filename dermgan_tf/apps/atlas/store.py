"""The atlas' store: one LanceDB table of images with their vectors, local or remote.

A row is an image as a whole: its picture, its vector, what is known of it. LanceDB
commits rows in new files and then a new version, so that a build that is killed leaves
what it has committed, and nothing half. Indexes: an inverted file of flat vectors (IVF)
for approximate search, bitmaps of what is filtered by, a tree of ids.
"""

import collections
import contextlib
import dataclasses
import datetime
import math
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from dermgan_tf.apps.atlas.about import About
from dermgan_tf.apps.atlas.filters import Filters
from dermgan_tf.errors import InputError
from dermgan_tf.remote_storage import is_remote, without_file_scheme

IMAGES, ABOUT = "images", "about"  # tables
ALL = Filters()
ID_PATTERN = re.compile(r"[0-9a-f]{32}")
INDEX_FROM = 10_000  # images; below, exact search is as fast
# Of about √n partitions, so many are looked into at least, or a tenth of all: enough
# where all images are wanted. What a filter admits may lie in other partitions than the
# vector that is asked for, such as another skin colour: then all are looked into.
_PROBES = 24
_FOLLOW = datetime.timedelta(seconds=5)  # until a server sees what was added
_KEEP_VERSIONS = datetime.timedelta(hours=1)  # for servers that read an older one
_FACTS = (
    *("id", "condition", "fitzpatrick", "provenance", "case", "split"),
    *("width", "height"),
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of an image of the atlas.

    Args:
        id: str. 32 hexadecimal digits of a digest of its pixels.
        condition: str.
        fitzpatrick: int, 0…6; 0 = unknown.
        provenance: "real", "phantom" or "synthetic".
        case: str. Its case, perhaps as a hash; "" of a synthetic image.
        split: "train", "validation", "test" or "synthetic".
        width, height: ints. Pixels of the picture that is kept.
        similarity: float, −1…1, the cosine of its vector and the one asked for; None
            where none was asked for.
    """

    id: str
    condition: str
    fitzpatrick: int
    provenance: str
    case: str
    split: str
    width: int
    height: int
    similarity: float | None = None

    @property
    def synthetic(self) -> bool:
        return self.provenance == "synthetic"


@dataclasses.dataclass(frozen=True)
class NewImage:
    """A row that is to be added.

    Args:
        facts: see there.
        file_digest: str. Of the file that it was read from, so that a build that goes
            on need not decode it again; "" where it is of no file.
        generator: str. Of a synthetic image, the fingerprint of its weights.
        picture, media_type: the file that is kept, see
            `dermgan_tf.apps.atlas.pictures.encode_picture`.
        vector: np.float32 [d], of length 1.
    """

    facts: Facts
    file_digest: str
    generator: str
    picture: bytes
    media_type: str
    vector: np.ndarray


class AtlasStore:
    """The images of an atlas.

    Args:
        path: its folder, or an URL that LanceDB reads: gs://, s3://, az://; credentials
            come from the environment, as their own tools take them.

    Raises:
        InputError: for a path that is no atlas, one that is damaged, or, if it is to be
            `ready`, one whose build has not come to its end.
    """

    def __init__(self, path: str | os.PathLike, ready: bool = True):
        self.where = os.fspath(path)
        self._database = connect(path)
        with _told(self.where):
            if ABOUT not in _tables(self._database):
                raise InputError(
                    f"{self.where} is no atlas; `image_atlas build` makes one"
                )
            self._about = self._database.open_table(ABOUT)
            row = self._about.search().select(["about"]).limit(2).to_list()
        if len(row) != 1:
            raise InputError(f"{self.where} is damaged; build it again elsewhere")
        self.about = About.from_json(row[0]["about"], self.where)
        if ready and self.about.state != "ready":
            raise InputError(
                f"the atlas {self.where} is not finished: run the same `image_atlas "
                "build` again, which goes on where it stopped"
            )
        with _told(self.where):
            if IMAGES not in _tables(self._database):
                raise InputError(f"{self.where} is damaged: it has no images")
            self._images = self._database.open_table(IMAGES)
            wanted = _schema(self.about.embedding["features"])
            if not self._images.schema.equals(wanted):
                raise InputError(
                    f"{self.where} is damaged, or of another version of dermgan_tf: "
                    "its columns are others; build it again elsewhere"
                )
            if ready:
                self.counts()  # reads a column of every file

    @staticmethod
    def create(path: str | os.PathLike, about: About) -> "AtlasStore":
        """Makes an empty atlas; what an earlier attempt left of tables is replaced."""
        database = connect(path)
        with _told(os.fspath(path)):
            schema = _schema(about.embedding["features"])
            database.create_table(IMAGES, schema=schema, mode="overwrite")
        _write_about(database, about)
        return AtlasStore(path, ready=False)

    def write_about(self, about: About) -> None:
        _write_about(self._database, about)
        self.about = about

    def __len__(self) -> int:
        with _told(self.where):
            return self._images.count_rows()

    @property
    def version(self) -> int:
        with _told(self.where):
            return self._images.version

    # === Writing ===

    def known(self) -> tuple[dict[str, tuple], dict[str, str]]:
        """What is stored: (id -> (condition, fitzpatrick, provenance), file -> id)."""
        columns = ["id", "condition", "fitzpatrick", "provenance", "file_digest"]
        found = self._columns(columns).to_pydict()
        rows = list(zip(*(found[name] for name in columns), strict=True))
        files = {row[4]: row[0] for row in rows if row[4]}
        return {row[0]: tuple(row[1:4]) for row in rows}, files

    def add(self, images: Sequence[NewImage]) -> None:
        """Adds rows, all or none of them; whose ids are not stored."""
        if not images:
            return
        import pyarrow as pa

        columns = {
            name: [getattr(one.facts, name) for one in images] for name in _FACTS
        }
        columns |= {
            name: [getattr(one, name) for one in images]
            for name in ("file_digest", "generator", "picture", "media_type")
        }
        size = self.about.embedding["features"]
        values = np.stack([one.vector for one in images]).astype(np.float32).ravel()
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), size)
        schema = _schema(size)
        arrays = [
            vectors
            if field.name == "vector"
            else pa.array(columns[field.name], field.type)
            for field in schema
        ]
        self._images.add(pa.Table.from_arrays(arrays, schema=schema))

    def remove(self, image_id: str) -> None:
        from lancedb.expr import col

        self._images.delete(col("id") == _checked_id(image_id))

    def finish(self, index_from: int = INDEX_FROM) -> None:
        """Gathers small files, brings indexes up to date, and says that it is ready."""
        from lancedb.index import Bitmap, BTree, IvfFlat

        count = len(self)
        self._images.optimize(cleanup_older_than=_KEEP_VERSIONS)
        indexed = {index.columns[0] for index in self._images.list_indices()}
        for name in ("condition", "fitzpatrick", "provenance"):
            if name not in indexed:
                self._images.create_index(name, config=Bitmap())
        if "id" not in indexed:
            self._images.create_index("id", config=BTree())
        trained = self.about.indexed
        if count >= index_from and ("vector" not in indexed or count >= 2 * trained):
            config = IvfFlat(distance_type="cosine", num_partitions=_partitions(count))
            self._images.create_index("vector", config=config)
            trained = count
        self.write_about(
            dataclasses.replace(
                self.about, state="ready", images=count, indexed=trained
            )
        )

    # === Reading ===

    def counts(self) -> collections.Counter:
        """How many images there are by (condition, fitzpatrick, provenance)."""
        names = ["condition", "fitzpatrick", "provenance"]
        groups = self._columns(names).group_by(names).aggregate([([], "count_all")])
        found = groups.to_pydict()
        keys = zip(*(found[name] for name in names), strict=True)
        return collections.Counter(dict(zip(keys, found["count_all"], strict=True)))

    def facts(self, image_id: str) -> Facts | None:
        """What is known of an image; None if there is none of this id."""
        rows = self._row(image_id, _FACTS)
        return Facts(**rows[0]) if rows else None

    def picture(self, image_id: str) -> tuple[bytes, str] | None:
        """The picture that is kept: (file, media type); None if there is none."""
        rows = self._row(image_id, ("picture", "media_type"))
        return (rows[0]["picture"], rows[0]["media_type"]) if rows else None

    def vector(self, image_id: str) -> np.ndarray | None:
        """np.float32 [d], of length 1; None if there is none of this id."""
        rows = self._row(image_id, ("vector",))
        return np.asarray(rows[0]["vector"], np.float32) if rows else None

    def browse(self, filters: Filters, limit: int, offset: int = 0) -> list[Facts]:
        """Images that the filters admit, in the order of their ids.

        That is a mixture, as ids are digests, and does not hang on how it was built.
        """
        from lancedb.query import ColumnOrdering

        with _told(self.where):
            query = self._images.search().select(list(_FACTS))
            query = query.order_by([ColumnOrdering(column_name="id")])
            condition = _expression(filters)
            if condition is not None:
                query = query.where(condition)
            rows = query.limit(limit).offset(offset).to_list()
        return [Facts(**row) for row in rows]

    def similar(
        self,
        vector: np.ndarray,
        filters: Filters = ALL,
        limit: int = 10,
        offset: int = 0,
        exact: bool = False,
        without: str = "",
    ) -> list[Facts]:
        """The images most like a vector, the most similar first.

        Args:
            vector: np.float32 [d].
            filters: only these are looked at.
            limit, offset: ints. How many, after how many.
            exact: bool. Whether the vectors are read and compared one by one, and not
                looked for by the index, where there is one.
            without: str. An id to leave out.
        """
        size = self.about.embedding["features"]
        vector = np.asarray(vector, np.float32)
        if vector.shape != (size,) or not np.isfinite(vector).all():
            raise InputError(f"want a finite vector [{size}], got {list(vector.shape)}")
        wanted = offset + limit + bool(without)
        with _told(self.where):
            query = self._images.search(vector, vector_column_name="vector")
            query = query.distance_type("cosine").select([*_FACTS, "_distance"])
            condition = _expression(filters)
            if condition is not None:
                query = query.where(condition, prefilter=True)
            if exact or not self.about.indexed:
                query = query.bypass_vector_index()
            else:
                partitions = _partitions(self.about.indexed)
                few = max(_PROBES, partitions // 10)
                query = query.nprobes(few if condition is None else partitions)
            rows = query.limit(wanted).to_list()
        found = [
            Facts(**{n: row[n] for n in _FACTS}, similarity=1.0 - row["_distance"])
            for row in rows
            if row["id"] != without
        ]
        found.sort(key=lambda one: (-one.similarity, one.id))
        return found[offset : offset + limit]

    def _row(self, image_id: str, columns: Sequence[str]) -> list[dict]:
        from lancedb.expr import col

        if not ID_PATTERN.fullmatch(image_id):
            return []
        with _told(self.where):
            query = self._images.search().select(list(columns))
            return query.where(col("id") == image_id).limit(1).to_list()

    def _columns(self, names: Sequence[str]):
        """Columns of all rows, as a pyarrow.Table."""
        with _told(self.where):
            count = self._images.count_rows()
            query = self._images.search().select(list(names))
            return query.limit(max(1, count)).to_arrow()


def connect(path: str | os.PathLike):
    """LanceDB's connection; InputError where it is not installed, or for a bad URL."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings are for programmers
    try:
        import lancedb
    except ModuleNotFoundError as error:
        if error.name != "lancedb":
            raise
        raise InputError(
            'lancedb is not installed; pip install "dermgan_tf[atlas]" brings it'
        ) from None
    if not is_remote(path):
        path = os.path.abspath(without_file_scheme(path))
    with _told(os.fspath(path)):
        return lancedb.connect(os.fspath(path), read_consistency_interval=_FOLLOW)


def has_atlas(path: str | os.PathLike) -> bool:
    """Whether an atlas stands there, perhaps an unfinished one."""
    if not is_remote(path) and not os.path.isdir(without_file_scheme(path)):
        return False
    with _told(os.fspath(path)):
        database = connect(path)
        if ABOUT not in _tables(database):
            return False
        try:
            database.open_table(ABOUT)
        except ValueError as error:
            # A build that was killed at its very beginning left a table's folder
            # without a version in it.
            if "not found" not in str(error):
                raise
            return False
        return True


def _tables(database) -> list[str]:
    return list(database.list_tables().tables)


def _partitions(count: int) -> int:
    """Of an index that was trained on so many vectors."""
    return max(1, round(math.sqrt(count)))


def _expression(filters: Filters):
    """The filters as an expression of values, or None. No text is put together."""
    from lancedb.expr import col

    found = None
    for name, values in (
        ("condition", filters.conditions),
        ("fitzpatrick", filters.fitzpatrick),
        ("provenance", filters.provenances),
    ):
        if values:
            one = col(name).isin(list(values))
            found = one if found is None else found & one
    return found


def _schema(features: int):
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            pa.field("id", text),
            pa.field("condition", text),
            pa.field("fitzpatrick", pa.int32()),
            pa.field("provenance", text),
            pa.field("case", text),
            pa.field("split", text),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("file_digest", text),
            pa.field("generator", text),
            pa.field("picture", pa.binary()),
            pa.field("media_type", text),
            pa.field("vector", pa.list_(pa.float32(), features)),
        ]
    )


def _write_about(database, about: About) -> None:
    import pyarrow as pa

    table = pa.table({"about": [about.to_json()]})
    database.create_table(ABOUT, table, mode="overwrite")


def _checked_id(image_id: str) -> str:
    if not ID_PATTERN.fullmatch(image_id):
        raise InputError(f"{image_id[:80]!r} is no image of the atlas")
    return image_id


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """What LanceDB raises when reading, as one line that names the atlas."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"the atlas {where} is damaged or cannot be read: {text}; if it cannot be "
            "mended, build it again elsewhere"
        ) from error
