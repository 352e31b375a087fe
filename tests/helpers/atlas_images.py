"""Images and atlases for tests: coloured noise, drawn vectors, a server of its own."""

import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np

from dermgan_tf.apps.atlas.about import About
from dermgan_tf.apps.atlas.build import Settings, build_atlas, open_for_build
from dermgan_tf.apps.atlas.colour_texture import ColourTexture
from dermgan_tf.apps.atlas.filters import Filters
from dermgan_tf.apps.atlas.sources import annotations_source, generated_source
from dermgan_tf.apps.atlas.store import AtlasStore, Facts, NewImage
from dermgan_tf.photos.photo_io import encode_jpeg
from tests.helpers.browser import ROOT
from tests.helpers.study_pools import CONDITIONS, noise_image, write_generated

ALL = Filters()


def write_photos(folder, count, seed=0, source="real", size=48):
    """Annotated photographs of a patient whose name must not get out."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place in range(count):
        name = f"Mrs Plank {seed}_{place}.jpg"
        data = encode_jpeg(noise_image(size, [seed, place]))
        exif = b"Exif\0\0Mrs Plank, GPS 48.2 16.4"
        marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
        (folder / name).write_bytes(data[:2] + marker + data[2:])
        lines.append(
            {
                "image": name,
                "case_id": f"Plank {seed} {place // 2}",
                "condition": CONDITIONS[place % len(CONDITIONS)],
                "fitzpatrick": place % 7 or None,
                "source": source,
            }
        )
    path = folder / "annotations.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def built(folder, sources, embedding=None, **settings):
    """Builds an atlas in this process: (store, outcome)."""
    embedding = embedding or ColourTexture()
    settings = Settings(**{"workers": 1, **settings})
    store = open_for_build(folder, sources, embedding, settings)
    return store, build_atlas(store, sources, embedding, settings)


def small_atlas(folder, photos=24, painted=12):
    """Photographs, phantoms and synthetic images: the atlas' folder."""
    sources = [
        annotations_source(write_photos(folder / "photos", photos)),
        annotations_source(write_photos(folder / "drawn", 6, 1, "phantom")),
        generated_source(write_generated(folder / "generated", painted)),
    ]
    built(folder / "atlas", sources, title="Our atlas <b>")
    return folder / "atlas"


def drawn_vectors(count, features=24, seed=0):
    """Clustered unit vectors, np.float32 [count, features]."""
    base, rng = np.random.default_rng(99), np.random.default_rng(seed)
    centres = base.normal(size=(40, features))
    vectors = centres[rng.integers(0, 40, count)]
    vectors = vectors + 0.4 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def vector_atlas(folder, count, index_from, vectors=None, types=None):
    """An atlas of drawn vectors: (store, facts, vectors)."""
    rng = np.random.default_rng(5)
    vectors = drawn_vectors(count) if vectors is None else vectors
    features = vectors.shape[1]
    types = rng.integers(0, 7, count) if types is None else types
    facts = [
        Facts(
            f"{place:032x}",
            CONDITIONS[rng.integers(3)],
            int(types[place]),
            ("real", "phantom", "synthetic")[rng.integers(3)],
            f"case {place}",
            "train",
            *(16, 16),
        )
        for place in range(count)
    ]
    embedding = {"name": "drawn", "features": features, "fingerprint": "0"}
    store = AtlasStore.create(folder, About("Drawn", CONDITIONS, embedding, "", 16))
    rows = [
        NewImage(one, "", "", b"x", "image/jpeg", vector)
        for one, vector in zip(facts, vectors, strict=True)
    ]
    for start in range(0, count, 500):
        store.add(rows[start : start + 500])
    store.finish(index_from)
    return AtlasStore(folder), facts, vectors


def brute_force(facts, vectors, filters, asked, limit, without=""):
    """Ids of the most similar images, by NumPy: the oracle."""
    rows = [
        row
        for row, one in enumerate(facts)
        if one.id != without
        and (not filters.conditions or one.condition in filters.conditions)
        and (not filters.fitzpatrick or one.fitzpatrick in filters.fitzpatrick)
        and (not filters.provenances or one.provenance in filters.provenances)
    ]
    scores = vectors[rows].astype(np.float64) @ asked.astype(np.float64)
    return [facts[rows[place]].id for place in np.argsort(-scores)[:limit]]


class ServedAtlas:
    """`image_atlas serve` in a process of its own; attributes: process, lines, url."""

    def __init__(self, atlas, *flags):
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipelines.image_atlas", "serve"),
                *(f"--atlas={atlas}", "--port=0", *flags),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        end = time.monotonic() + 120
        while not any(line.startswith("Ctrl-C") for line in self.lines):
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(self.process.stderr.read())
            time.sleep(0.02)
        self.url = self.lines[1].split()[1].split("/#")[0].rstrip("/")

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(60)
        self._reader.join(10)
