"""Images for reader studies: noise that is drawn alike for real and synthetic ones."""

import dataclasses
import json

import numpy as np

from dermgan_tf.apps.reader_study.build import Settings, build_study
from dermgan_tf.apps.reader_study.pools import Candidate
from dermgan_tf.apps.reader_study.store import AnswerStore
from dermgan_tf.apps.reader_study.study import ANSWERS_FILE, read_study
from dermgan_tf.photos.photo_io import encode_png

CONDITIONS = ("eczema", "melanoma", "psoriasis")
PARTS = ("turing", "recognition")


@dataclasses.dataclass
class ArrayPool:
    """A pool in memory."""

    candidates: list
    size: int = 32
    seed: int = 0

    def images(self, places):
        for place in places:
            yield place, noise_image(self.size, [self.seed, place])


def noise_image(size, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(4, 4, 3)) * 20 + (190, 140, 120)
    image = np.kron(coarse, np.ones((size // 4, size // 4, 1)))
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def candidates(kind, count, seed=0, conditions=CONDITIONS, types=6):
    rng = np.random.default_rng(seed)
    return [
        Candidate(
            kind,
            condition := conditions[int(rng.integers(len(conditions)))],
            frozenset([condition]),
            int(rng.integers(1, types + 1)),
            f"{kind} case {place // 2}",
            f"test/{place}",
        )
        for place in range(count)
    ]


def pools(count=120, size=32, conditions=CONDITIONS):
    return {
        kind: ArrayPool(candidates(kind, count, seed, conditions), size, seed)
        for seed, kind in enumerate(("real", "synthetic"))
    }


def make_study(folder, participants=3, real=6, synthetic=6, questions=2, **settings):
    """Builds a study; returns (study, store, codes)."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        real=real,
        synthetic=synthetic,
        questions=questions,
        **{"images_per_question": 4, **settings},
    )
    build_study(folder, pools(max(120, 2 * real)), settings)
    study = read_study(folder)
    store = AnswerStore(folder / ANSWERS_FILE, study.fingerprint)
    parts = tuple(part for part in PARTS if study.names(part))
    return study, store, [store.invite("", parts) for _ in range(participants)]


def write_generated(folder, count, size=64, conditions=CONDITIONS, generator="f" * 64):
    """A folder as generate leaves it, without a generator."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for place in range(count):
        condition = conditions[place % len(conditions)]
        text = {"synthetic": "true", "generator": generator, "condition": condition}
        data = encode_png(noise_image(size, [7, place]), text)
        (folder / f"images/{place:06d}.png").write_bytes(data)
        lines.append(
            {
                "image": f"images/{place:06d}.png",
                "condition": condition,
                "fitzpatrick": place % 6 + 1,
                "boxes": [[0.2, 0.2, 0.6, 0.6]],
                "seed": place,
                "generator": generator,
                "source": "synthetic",
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "generated.jsonl").write_text(text)
    return folder
