"""The whole main job, small, on phantom data: from drawn photographs to a report."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf import classifier, generation, generation_plan, prepare, training
from dermgan_tf.annotations import read_annotations
from dermgan_tf.embeddings import build_embedding
from dermgan_tf.evaluation import evaluate
from dermgan_tf.evaluation_report import write_evaluation
from dermgan_tf.generation import paint_specs
from dermgan_tf.generation_plan import ImageSpec
from dermgan_tf.judging.condition_recall import Judge
from dermgan_tf.pairs import read_pairs
from dermgan_tf.phantom import phantom_vocabulary, write_phantom
from dermgan_tf.progress import silent
from dermgan_tf.report import render_page
from dermgan_tf.saved_model import export_saved_model, load_trained_generator
from dermgan_tf.semantic_map import MAX_SKIN_TYPE
from dermgan_tf.vocabulary import Vocabulary

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
    photos/, pairs/, model/, generator/ (the SavedModel), sweeps/, evaluation/ (a
    report of its own), report.html, metrics.json. Deterministic: the same machine and
    arguments give the same numbers.

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
        trained_generator, _, provenance = load_trained_generator(output_dir / "model")
        export_saved_model(
            trained_generator, vocabulary, output_dir / "generator", provenance
        )
        generator = generation.load_generator(output_dir / "generator")
    with timer.step("paint sheets"):
        sheets = []
        for title, kind, fixed, look_for in SHEETS:
            sweep = generation_plan.plan_sweep(
                kind, vocabulary, seed=SWEEP_SEED, **fixed
            )
            folder = output_dir / "sweeps" / kind
            folder.mkdir(parents=True)
            generation.write_sweep(generator, sweep, folder)
            png = (folder / "sheet.png").read_bytes()
            sheets.append({"title": title, "look_for": look_for, "png": png})
    with timer.step("train classifiers"):
        crops = {
            split: classifier.labelled_crops(output_dir / "pairs", split)
            for split in ("train", "validation", "test")
        }
        per_condition, specs = balancing_specs(
            list(read_pairs(output_dir / "pairs", "train")), vocabulary, seed
        )
        synthetic = classifier.LabelledImages(
            np.stack([image for _, _, image in paint_specs(generator, specs)]),
            [vocabulary.index(spec.condition) for spec in specs],
            vocabulary.conditions,
        )
        arms = {}
        for name, more in (("baseline", None), ("augmented", synthetic)):
            arms[name] = classifier.train_classifier(
                crops["train"],
                crops["validation"],
                more,
                steps=classifier_steps,
                seed=seed,
                progress=progress,
            )
        comparison = classifier.compare_classifiers(
            crops["test"],
            *(classifier.predict(arm, crops["test"].images) for arm in arms.values()),
            seed=seed,
        )
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
        write_evaluation(output_dir / "evaluation", evaluation)
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
            "images_per_condition": per_condition,
            "comparison": comparison,
        },
        "seconds": timer.seconds,
    }
    page = render_page(
        "quickstart.html",
        metrics=metrics,
        sheets=sheets,
        held_out=(output_dir / "evaluation" / "held_out_maps.png").read_bytes(),
    )
    (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    (output_dir / "report.html").write_text(page, encoding="utf-8")
    return metrics


def balancing_specs(
    pairs: Sequence[dict[str, Any]], vocabulary: Vocabulary, seed: int
) -> tuple[int, list[ImageSpec]]:
    """Plans synthetic images that bring every condition to as many as the commonest.

    Boxes are those of training crops of the same condition, turned or mirrored, so
    sizes and places follow the training set's; skin types take turns, so that the
    added images favour none.

    Args:
        pairs: training pairs, as from `read_pairs`.
        vocabulary: their conditions. One without a crop is left out.
        seed: int.

    Returns:
        (images per condition, specs).
    """
    rng = np.random.default_rng(seed)
    crops = collections.defaultdict(list)
    for pair in pairs:
        crops[pair["condition"]].append(pair)
    per_condition = max(map(len, crops.values()))
    specs = []
    for condition in vocabulary:
        if condition not in crops:
            continue
        for _ in range(per_condition - len(crops[condition])):
            pair = crops[condition][rng.integers(len(crops[condition]))]
            boxes = np.array(pair["boxes"], np.float64)
            if rng.random() < 0.5:  # transpose
                boxes = boxes[:, [1, 0, 3, 2]]
            if rng.random() < 0.5:  # mirror left to right
                boxes = np.stack(
                    [boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1
                )
            specs.append(
                ImageSpec(
                    condition,
                    len(specs) % MAX_SKIN_TYPE + 1,
                    tuple(tuple(map(float, np.clip(box, 0, 1))) for box in boxes),
                    seed=int(rng.integers(2**31)),
                )
            )
    return per_condition, specs
