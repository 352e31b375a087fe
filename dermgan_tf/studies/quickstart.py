"""The whole main job, small, on phantom data: from drawn photographs to a report."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dermgan_tf.classifier.batches import TrainingImages
from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.labelled_reading import labelled_crops
from dermgan_tf.classifier.networks import predict
from dermgan_tf.classifier.outcome import predictions_of
from dermgan_tf.classifier.task import fit_classifier
from dermgan_tf.generation import painting
from dermgan_tf.generation import plan as generation_plan
from dermgan_tf.generation.balance import plan_synthetic
from dermgan_tf.generation.painting import paint_specs
from dermgan_tf.generation.scenes import read_training_scenes
from dermgan_tf.judging.condition_recall import Judge
from dermgan_tf.judging.dermgan import evaluate
from dermgan_tf.metrics.embeddings import build_embedding
from dermgan_tf.models.dermgan import task
from dermgan_tf.models.dermgan.served import (
    export_saved_model,
    load_generator,
    load_trained_generator,
)
from dermgan_tf.pairs import prepare
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.phantom import phantom_vocabulary, write_phantom
from dermgan_tf.photos.annotations import read_annotations
from dermgan_tf.progress import silent
from dermgan_tf.reports.comparison import write_comparison
from dermgan_tf.reports.evaluation import write_evaluation
from dermgan_tf.reports.quickstart import write_quickstart
from dermgan_tf.studies.arms import Arm
from dermgan_tf.studies.comparison import compare
from dermgan_tf.studies.exposure import equal_exposure, real_images_seen

CONDITIONS = 8
CASES = 320
PHOTO_SIZE = (480, 640)  # height, width in pixels
IMAGE_SIZE = 64
CROPS_PER_PHOTO = 4
BASE_FILTERS = 24
BATCH_SIZE = 8
STEPS = 3000
CLASSIFIER_STEPS = 330  # of the baseline
CLASSIFIER_BATCH = 64
REAL_PER_SYNTHETIC = 2  # phantom training crops for every synthetic one, at least
TRIALS = 50  # resamples behind each Fréchet distance, as in the DermGAN paper
SWEEP_SEED = 1
EMBEDDING_NAME = "baseline_classifier"
# (title, sweep, what is held fixed, what a reader should look for).
SHEETS = (
    (
        "Skin colour",
        "skin_color",
        {},
        "In each row one scene on the six Fitzpatrick skin types, I to VI: the skin "
        "should darken from left to right, and the lesion stay where it is.",
    ),
    (
        "Size",
        "size",
        {},
        "The lesion should fill its box as the box grows.",
    ),
    (
        "Condition",
        "condition",
        {"variants": 3},
        "The same box and skin; each condition should be known by shape, colour and "
        "texture. Rows differ in the seed alone.",
    ),
    (
        "Place",
        "place",
        {"condition": "melanocytic nevus"},
        "The mole should move with its box.",
    ),
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
    photos/, pairs/, model/, generator/ (the SavedModel), sweeps/, evaluation/ and
    comparison/ (reports of their own), report.html, metrics.json. Deterministic: the
    same machine and arguments give the same numbers.

    Args:
        output_dir: an existing, empty folder.
        cases: int. Phantom cases to draw; each has one to four photos.
        steps: int. Training steps of DermGAN.
        base_filters: int. Filters of the networks' first blocks.
        classifier_steps: int. Training steps of the baseline classifier; the one with
            synthetic images takes as many more as it needs to see as many phantoms.
        seed: int. Of everything.
        progress: see `dermgan_tf.progress`.

    Returns:
        The content of metrics.json; "seconds" holds the durations by step.
    """
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
                AnnotatedPhoto(annotations_path.parent, annotation)
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
        trained = task.train_gan(
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
        trained_generator, _, provenance = load_trained_generator(output_dir / "model")
        export_saved_model(
            trained_generator, vocabulary, output_dir / "generator", provenance
        )
        generator = load_generator(output_dir / "generator")
    with timer.step("paint sheets"):
        sheets = []
        for title, kind, fixed, look_for in SHEETS:
            sweep = generation_plan.plan_sweep(
                kind, vocabulary, seed=SWEEP_SEED, **fixed
            )
            folder = output_dir / "sweeps" / kind
            folder.mkdir(parents=True)
            painting.write_sweep(generator, sweep, folder)
            png = (folder / "sheet.png").read_bytes()
            sheets.append({"title": title, "look_for": look_for, "png": png})
    with timer.step("train classifiers"):
        crops = {
            split: labelled_crops(output_dir / "pairs", split)
            for split in ("train", "validation", "test")
        }
        # Filled towards the commonest condition, with skin types that are short.
        plan = plan_synthetic(
            read_training_scenes(output_dir / "pairs"),
            vocabulary,
            balance_skin_types=True,
            max_images=len(crops["train"]) // REAL_PER_SYNTHETIC,
            seed=seed,
            data_fingerprint=pairs["fingerprint"],
        )
        specs = list(plan.image_specs())
        synthetic = LabelledImages(
            np.stack([image for _, _, image in paint_specs(generator, specs)]),
            [vocabulary.index(spec.condition) for spec in specs],
            vocabulary.conditions,
        )
        longer = equal_exposure(classifier_steps, len(crops["train"]), len(synthetic))
        arms, told = {}, []
        for name, more, length in (
            ("baseline", None, {"steps": classifier_steps}),
            ("augmented", synthetic, longer),
        ):
            arms[name] = fit_classifier(
                crops["train"],
                crops["validation"],
                more,
                batch_size=CLASSIFIER_BATCH,
                seed=seed,
                progress=progress,
                **length,
            )
            images = TrainingImages(
                crops["train"],
                more,
                CLASSIFIER_BATCH,
                seed,
                real_share=length.get("real_share"),
            )
            seen = real_images_seen(images, length["steps"])
            told.append(
                {
                    "name": name,
                    "steps": length["steps"],
                    "real_images_seen": seen,
                    "synthetic_images_seen": length["steps"] * CLASSIFIER_BATCH - seen,
                }
            )
        test = crops["test"]
        comparison = compare(
            [
                Arm(name, (predictions_of(test, "test", predict(arm, test.images)),))
                for name, arm in arms.items()
            ],
            train_counts=collections.Counter(
                crops["train"].conditions[k] for k in crops["train"].labels
            ),
            seed=seed,
        )
        (output_dir / "comparison").mkdir()
        write_comparison(output_dir / "comparison", comparison)
        arms["baseline"].save(output_dir / f"{EMBEDDING_NAME}.keras")
    with timer.step("evaluate"):
        evaluation = evaluate(
            generator,
            output_dir / "pairs",
            build_embedding(os.fspath(output_dir / f"{EMBEDDING_NAME}.keras")),
            trials=TRIALS,
            judge=Judge(
                arms["baseline"],
                crops["train"].conditions,
                frozenset(
                    np.concatenate([crops["train"].cases, crops["validation"].cases])
                ),
            ),
            seed=seed,
            progress=progress,
        )
        (output_dir / "evaluation").mkdir()
        write_evaluation(
            output_dir / "evaluation", evaluation.metrics, evaluation.sheets
        )
    metrics = {
        "data": {
            "photos": len(annotations),
            "cases": cases,
            "conditions": list(vocabulary),
            "image_size": IMAGE_SIZE,
            "crops": pairs["crops"],
            "fingerprint": pairs["fingerprint"],
        },
        "training": {
            "steps": trained.step,
            "images": trained.step * BATCH_SIZE,
            "losses": trained.losses,
        },
        "evaluation": evaluation.metrics,
        "classifier": {
            "real_images": len(crops["train"]),
            "synthetic_images": len(synthetic),
            "arms": told,
            "comparison": comparison,
        },
        "seconds": timer.seconds,
    }
    held_out = (output_dir / "evaluation" / "held_out_maps.png").read_bytes()
    write_quickstart(output_dir, metrics, sheets, held_out)
    return metrics
