"""The whole main job, small, on phantom data: from drawn photographs to a report."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dermgan_tf.progress import silent

CONDITIONS = 8
CASES = 320
PHOTO_SIZE = (480, 640)  # height, width in pixels
IMAGE_SIZE = 64
CROPS_PER_PHOTO = 4
BASE_FILTERS = 24
BATCH_SIZE = 8
STEPS = 3000
CLASSIFIER_STEPS = 400
TRIALS = 50  # resamples behind each Fréchet distance, as in the DermGAN paper
SWEEP_SEED = 1
# Sheets: (title, sweep, what is held fixed).
SHEETS = (
    ("Skin colour", "skin_color", {}),
    ("Size", "size", {}),
    ("Condition", "condition", {"variants": 3}),
    ("Place", "place", {"condition": "melanocytic nevus"}),
)


@dataclasses.dataclass
class Timer:
    """Seconds by step of the work."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


def run_quickstart(
    output_dir: str | os.PathLike,
    *,
    cases: int = CASES,
    steps: int = STEPS,
    base_filters: int = BASE_FILTERS,
    classifier_steps: int = CLASSIFIER_STEPS,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Draws phantom photos and does with them all that the library is for.

    Draw → annotations → pairs → train → export → sheets → Fréchet distance → a
    classifier without and with synthetic images → report.html. All in `output_dir`:
    photos/, pairs/, model/, generator/ (the SavedModel), sweeps/, report.html,
    metrics.json. Deterministic: the same machine and arguments give the same numbers.

    Args:
        output_dir: an existing, empty folder.
        cases: int. Phantom cases to draw; each has one to four photos.
        steps: int. Training steps of DermGAN.
        base_filters: int. Filters of the networks' first blocks.
        classifier_steps: int. Training steps of each classifier.
        seed: int. Of everything.
        progress: see `dermgan_tf.progress`.

    Returns:
        The content of metrics.json; "seconds" holds the durations by step.
    """
    from dermgan_tf import generation, generation_plan, prepare, training
    from dermgan_tf.annotations import read_annotations
    from dermgan_tf.phantom import phantom_vocabulary, write_phantom
    from dermgan_tf.saved_model import export_saved_model, load_trained_generator

    output_dir = pathlib.Path(output_dir)
    timer = Timer()
    vocabulary = phantom_vocabulary(CONDITIONS)
    with timer.step("draw photos"):
        annotations_path = write_phantom(
            output_dir / "photos",
            cases,
            num_conditions=CONDITIONS,
            seed=seed,
            photo_size=PHOTO_SIZE,
            progress=progress,
        )
    with timer.step("prepare pairs"):
        annotations, rejects = read_annotations(annotations_path, vocabulary)
        pairs = prepare.prepare_pairs(
            [
                prepare.AnnotatedPhoto(annotations_path.parent, annotation)
                for annotation in annotations
            ],
            vocabulary,
            output_dir / "pairs",
            image_size=IMAGE_SIZE,
            crops_per_photo=CROPS_PER_PHOTO,
            seed=seed,
            progress=progress,
            rejects=rejects,
        )
    with timer.step("train DermGAN"):
        trained = training.train_gan(
            output_dir / "pairs",
            output_dir / "model",
            steps=steps,
            batch_size=BATCH_SIZE,
            base_filters=base_filters,
            seed=seed,
            deterministic=True,
            checkpoint_every=1000,
            sample_every=1000,
            progress=progress,
        )
    with timer.step("export"):
        loaded = load_trained_generator(output_dir / "model")
        export_saved_model(
            loaded.generator, loaded.vocabulary, output_dir / "generator"
        )
        generator = generation.load_generator(output_dir / "generator")
    with timer.step("paint sheets"):
        for _, kind, fixed in SHEETS:
            sweep = generation_plan.plan_sweep(
                kind, vocabulary, seed=SWEEP_SEED, **fixed
            )
            folder = output_dir / "sweeps" / kind
            folder.mkdir(parents=True)
            generation.write_sweep(generator, sweep, folder)
    return {}
