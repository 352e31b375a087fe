"""The image atlas at 100,000 images: its build, killed once, and its searches.

Draws small pictures, each different, builds an atlas of them with the program itself,
which is killed with −9 on the way and started again, and then searches: in that atlas,
and in one of vectors as long as a network's, clustered as those are. Each search is
compared with NumPy's brute force over the same vectors, taken in turns in one run.
"""

import contextlib
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import flags
from PIL import Image

from dermgan_tf.apps.atlas.about import About
from dermgan_tf.apps.atlas.colour_texture import ColourTexture
from dermgan_tf.apps.atlas.filters import Filters
from dermgan_tf.apps.atlas.query import admitted_by, vector_of
from dermgan_tf.apps.atlas.store import AtlasStore, Facts, NewImage
from dermgan_tf.apps.atlas.vectors import unit_vectors
from pipelines.shared import program

CONDITIONS = tuple(f"condition {number:02d}" for number in range(1, 28))
SIDE, KEPT = 48, 10
_ROWS = 4096


def define_flags():
    flags.DEFINE_integer("images", 100_000, "Of each atlas.", 1000)
    flags.DEFINE_integer("queries", 200, "Of each kind of search.", 10)
    flags.DEFINE_integer("features", 1280, "Of the network's vectors.", 8)
    flags.DEFINE_integer("kills", 1, "Of the build.", 0, 20)
    flags.DEFINE_bool(
        "build", True, "Whether to build; else what --folder has is searched."
    )
    flags.DEFINE_bool("exact", True, "Whether exact searches are measured, too.")
    flags.DEFINE_string("folder", None, "Where to work. Default: a temporary one.")


def main(args):
    ways = ("exact", "approximate") if args.exact else ("approximate",)
    with contextlib.ExitStack() as stack:
        folder = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        if args.build:
            measure_build(folder, args.images, args.kills)
        if (folder / "atlas").exists():
            measure_built(folder / "atlas", args.queries, ways)
        measure_vectors(
            folder / "vectors", args.images, args.features, args.queries, ways
        )


def measure_build(folder, count, kills):
    started = time.monotonic()
    annotations = draw(folder / "photos", count)
    print(f"drawing {count:,} pictures: {time.monotonic() - started:.0f} s", flush=True)
    atlas, seconds = folder / "atlas", 0.0
    shutil.rmtree(atlas, ignore_errors=True)
    for kill in range(kills + 1):
        wanted = count * (kill + 1) // (kills + 1) if kill < kills else None
        took, found = run_build(annotations, atlas, wanted)
        seconds += took
        how = "killed with −9" if wanted else "to its end"
        print(f"build, {how}: {took:.0f} s, {found:,} images stored", flush=True)
    store = AtlasStore(atlas)
    labels, _ = store.known()
    assert len(store) == len(labels) == count, (len(store), len(labels))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    size = sum(f.stat().st_size for f in atlas.rglob("*") if f.is_file())
    print(
        f"build of {count:,} images, {kills} times killed: {seconds:.0f} s in all, "
        f"{count / seconds:.0f} images a second, {memory:.0f} MiB at most, "
        f"{size / 2**20:.0f} MiB on disk; each image stored once",
        flush=True,
    )


def run_build(annotations, atlas, wanted):
    """Builds until there are `wanted` images, or to the end: (seconds, images)."""
    started = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.image_atlas", "build"),
            *(f"--output_dir={atlas}", f"--annotations={annotations}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        time.sleep(1)
        if wanted and stored(atlas) >= wanted:
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
    if not wanted and process.returncode:
        raise RuntimeError(f"the build failed: {process.returncode}")
    return time.monotonic() - started, stored(atlas)


def stored(atlas):
    try:
        return len(AtlasStore(atlas, ready=False))
    except ValueError:  # not yet there
        return 0


def draw(folder, count):
    """Writes small JPEGs and their annotations; returns the annotations' path."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for place in range(count):
        skin = place % 7
        image = picture(rng, place % len(CONDITIONS), skin)
        name = f"{place // 1000:03d}/{place:06d}.jpg"
        if place % 1000 == 0:
            (folder / name).parent.mkdir(exist_ok=True)
        data = io.BytesIO()
        Image.fromarray(image).save(data, "JPEG", quality=90)
        (folder / name).write_bytes(data.getvalue())
        lines.append(
            {
                "image": name,
                "case_id": f"case {place // 3}",
                "condition": CONDITIONS[place % len(CONDITIONS)],
                "fitzpatrick": skin or None,
                "source": "real" if place % 5 else "phantom",
            }
        )
    path = folder / "annotations.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def picture(rng, condition, skin):
    """Skin of some colour with a spot whose look hangs on the condition."""
    ground = np.array([225, 180, 155]) * (1 - 0.11 * skin)
    kind = np.random.default_rng(condition)
    spot = ground * kind.uniform(0.4, 1.2, 3)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    cy, cx = rng.uniform(0.3, 0.7, 2)
    radius = kind.uniform(0.1, 0.3) * rng.uniform(0.7, 1.3)
    inside = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2)[..., None]
    waves = np.sin(kind.uniform(5, 40) * x + kind.uniform(5, 40) * y)[..., None] * 12
    image = np.where(inside, spot + waves, ground * rng.uniform(0.9, 1.1))
    image = image + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def measure_built(atlas, queries, ways):
    """Searches in the atlas that was built, by pictures that are not in it."""
    store = AtlasStore(atlas)
    rng = np.random.default_rng(1)
    embedding, size = ColourTexture(), store.about.picture_size
    asked = np.stack(
        [
            vector_of(picture(rng, i % len(CONDITIONS), i % 7), embedding, size)
            for i in range(queries)
        ]
    )
    rows = store._columns(["id", "condition", "fitzpatrick", "provenance", "vector"])
    vectors = np.stack(rows["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
    labels = [
        rows[name].to_pylist() for name in ("condition", "fitzpatrick", "provenance")
    ]
    measure_searches(store, rows["id"].to_pylist(), labels, vectors, asked, ways)


def measure_vectors(folder, count, features, queries, ways):
    """Searches among vectors as a network gives them."""
    vectors, asked = clustered(count, features, 2), clustered(queries, features, 3)
    rng = np.random.default_rng(4)
    labels = [
        [CONDITIONS[i] for i in rng.integers(0, len(CONDITIONS), count)],
        rng.integers(0, 7, count).tolist(),
        [("real", "phantom", "synthetic")[i] for i in rng.integers(0, 3, count)],
    ]
    ids = [f"{place:032x}" for place in range(count)]
    shutil.rmtree(folder, ignore_errors=True)
    embedding = {"name": "drawn", "features": features, "fingerprint": ""}
    about = About("Vectors", CONDITIONS, embedding, "", 16)
    store = AtlasStore.create(folder, about)
    started = time.monotonic()
    for start in range(0, count, _ROWS):
        rows = range(start, min(count, start + _ROWS))
        facts = zip(*(column[start : start + _ROWS] for column in labels), strict=True)
        store.add(
            [
                NewImage(
                    Facts(ids[row], *known, "", "train", 16, 16),
                    *("", "", b"", "image/jpeg"),
                    vectors[row],
                )
                for row, known in zip(rows, facts, strict=True)
            ]
        )
    added = time.monotonic() - started
    store.finish()
    took = time.monotonic() - started - added
    print(f"{count:,} vectors: added in {added:.0f} s, indexed in {took:.0f} s")
    measure_searches(AtlasStore(folder), ids, labels, vectors, asked, ways)


def clustered(count, features, seed):
    """Vectors in 2,000 clusters of 64 dimensions, through a layer with ReLU, noisy."""
    base, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = base.normal(size=(2000, 64)).astype(np.float32)
    layer = base.normal(size=(64, features)).astype(np.float32) / 8
    found = np.empty((count, features), np.float32)
    for start in range(0, count, _ROWS):
        n = min(_ROWS, count - start)
        inner = centres[rng.integers(0, 2000, n)] + 0.5 * rng.normal(size=(n, 64))
        outer = np.maximum(inner.astype(np.float32) @ layer, 0)
        outer += 0.05 * rng.normal(size=outer.shape)
        found[start : start + n] = outer
    return unit_vectors(found)


def measure_searches(store, ids, labels, vectors, asked, ways):
    """Prints recall@10 and latency of searches, in turns with NumPy's brute force."""
    counts = store.counts()
    first, second = store.about.conditions[:2]
    kinds = {
        "all images": Filters(),
        "one provenance": Filters((), (), ("real",)),
        "one skin type": Filters((), (5,)),
        "one condition": Filters((first,)),
        "two conditions, two types": Filters((first, second), (2, 5)),
        "condition, type, provenance": Filters((first,), (5,), ("real",)),
    }
    print(
        f"{len(ids):,} vectors of {vectors.shape[1]}\n"
        "| filter | images | search | recall@10 | p50 ms | p95 ms |\n"
        "|---|---|---|---|---|---|"
    )
    for name, filters in kinds.items():
        mask = np.array([filters.admits(*one) for one in zip(*labels, strict=True)])
        rows = np.flatnonzero(mask)
        assert admitted_by(counts, filters) == len(rows)
        times = {"NumPy": [], **{how: [] for how in ways}}
        recalls = {how: [] for how in ways}
        for place, vector in enumerate(asked):
            started = time.perf_counter()
            wanted = brute_force(vectors, rows, vector)
            times["NumPy"].append(time.perf_counter() - started)
            truth = {ids[row] for row in wanted}
            for how in recalls:
                started = time.perf_counter()
                found = store.similar(vector, filters, KEPT, exact=how == "exact")
                if place:  # the first search opens files
                    times[how].append(time.perf_counter() - started)
                recalls[how].append(len(truth & {one.id for one in found}) / len(truth))
        for how, seconds in times.items():
            recall = f"{np.mean(recalls[how]):.4f}" if how in recalls else "1"
            middle, late = np.percentile(np.array(seconds) * 1000, [50, 95])
            line = (
                f"{name} | {len(rows):,} | {how} | {recall} | {middle:.0f} | {late:.0f}"
            )
            print(f"| {line} |", flush=True)


def brute_force(vectors, rows, vector):
    """The rows of the ten highest scalar products."""
    scores = (vectors if len(rows) == len(vectors) else vectors[rows]) @ vector
    best = np.argpartition(-scores, min(KEPT, len(scores)) - 1)[:KEPT]
    return rows[best]


if __name__ == "__main__":
    os.environ.setdefault("LANCEDB_LOG", "error")
    program.run(define_flags, main)
