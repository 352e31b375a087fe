"""Does a judge who learnt the conditions from photographs see the one asked for?

The judge is a classifier trained on real training crops. It looks at held-out crops and
at the images painted from the same maps; how many of each condition it tells right is
its recall. Synthetic recall says little by itself: a judge misses some photographs,
too. The ratio of the two is what the generator keeps of what the judge can see.

Beside it: in the DermGAN paper (arXiv 1911.08716) two dermatologists, asked which
images show a condition, had a recall of 0.61 of real and 0.45 of synthetic images, a
ratio of 0.74. People and a classifier see different things: a network can be
right for a colour or a texture that no physician would take for the condition.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.networks import predict
from dermgan_tf.classifier.task import fit_classifier
from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import macro_means, share
from dermgan_tf.judging.scenes import drawn_scenes, painted
from dermgan_tf.metrics.bootstrap import percentile_interval
from dermgan_tf.progress import silent

PAPER = {
    "judges": "two dermatologists, 16 questions (arXiv 1911.08716)",
    "real": 0.61,
    "synthetic": 0.45,
}
_PREDICTED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Judge:
    """A classifier of conditions, and what it has seen.

    Args:
        model: keras.Model, RGB 0…255 [N, S, S, 3] -> probabilities [N, conditions], as
            `fit_classifier` returns it.
        conditions: their names, in the order of its outputs.
        cases: all that it was trained or chosen on.
    """

    model: keras.Model
    conditions: tuple[str, ...]
    cases: frozenset[str]


def train_judge(
    train_crops: LabelledImages,
    validation_crops: LabelledImages,
    steps: int = 300,
    seed: int = 0,
    progress: Callable = silent,
) -> Judge:
    """Trains a small classifier on real crops; see `fit_classifier`.

    Args:
        train_crops: real crops with their cases, from `labelled_crops`.
        validation_crops: of other cases; the best weights on them are taken.
        steps: int ≥ 1. Weight updates.
        seed: int.
        progress: wraps the steps.

    Raises:
        InputError: as `fit_classifier`, or for crops without cases, which are not
            known to be real.
    """
    if train_crops.cases is None or validation_crops.cases is None:
        raise InputError("a judge learns from real crops only: these have no cases")
    model = fit_classifier(
        train_crops, validation_crops, steps=steps, seed=seed, progress=progress
    )
    cases = frozenset(np.concatenate([train_crops.cases, validation_crops.cases]))
    return Judge(model, train_crops.conditions, cases)


def condition_recall(
    generator: Any,
    pairs: Iterable[dict[str, Any]],
    judge: Judge | None,
    max_scenes: int | None = 1000,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Judges whether images show the condition that their map asks for.

    Args:
        generator: with `.paint`, `.vocabulary` and `.image_size`.
        pairs: held-out pairs as `read_pairs` yields, of cases the judge has not seen.
            Those without a box of their condition are left out: nothing asks for it.
        judge: from `train_judge`. None where the vocabulary has a single condition.
        max_scenes: int ≥ 1, or None for all. So many pairs are held at once. A scene's
            seed is its position among `pairs`.
        seed: int. Of the draw of scenes and of the bootstrap.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values:
        undefined      why nothing below is there (one condition only), or None
        scenes, cases  compared; not_in_map: left out by what is said above
        judges         "classifier"
        chance         the macro recall of a guess, 1/K
        macro_recall   real, synthetic: value (the mean over conditions with images) and
                       interval_95; ratio (synthetic / real): the same, paired, over
                       resampled cases, and undefined, which says why it is None, as
                       where the judge is not surely better than guessing. No
                       condition is lost from a resample.
        without_images the conditions that are in no mean
        by_condition   list of condition, scenes, real and synthetic: their recalls, as
                       `dermgan_tf.judging.intervals.share` returns them
        confusion      real, synthetic: int [K][K], rows wanted, columns seen, in the
                       order of conditions
        conditions     their names
        paper          what people saw in the paper's images

    Raises:
        InputError: for no pairs, a synthetic one, one of another image size, a judge of
            another vocabulary or image size, or one that has seen a case.
    """
    names = generator.vocabulary.conditions
    if len(names) < 2:
        return {"undefined": f"{names[0]} is the only condition: nothing to tell apart"}
    if judge is None:
        raise InputError("condition recall needs a judge; train_judge trains one")
    _require_fitting(judge, names, generator.image_size)
    skipped = []

    def suits(pair) -> bool:
        if pair["case_id"] in judge.cases:
            raise InputError(
                f"the judge was trained on case {pair['case_id']}: it would remember "
                "the photographs, and not the synthetic images"
            )
        if pair["condition"] in pair["box_conditions"]:
            return True
        skipped.append(pair["image_id"])
        return False

    scenes = drawn_scenes(pairs, generator.image_size, max_scenes, seed, suits)
    if not scenes:
        raise InputError("there is no pair with a box of its condition to judge by")
    seen = {"real": [], "synthetic": []}
    progressing = progress(
        painted(generator, scenes, lambda i, pair: (pair["semantic_map"][None], [i])),
        total=len(scenes),
        desc="conditions",
    )
    waiting = []
    for _, pair, _, images in progressing:
        waiting.append((pair["image"], images[0]))
        if len(waiting) == _PREDICTED_AT_ONCE:
            _look(judge, waiting, seen)
    _look(judge, waiting, seen)
    wanted = np.array([names.index(pair["condition"]) for _, pair in scenes])
    cases = np.array([pair["case_id"] for _, pair in scenes])
    hits = {kind: np.array(labels) == wanted for kind, labels in seen.items()}
    return {
        "undefined": None,
        "scenes": len(scenes),
        "cases": len(np.unique(cases)),
        "not_in_map": len(skipped),
        "judges": "classifier",
        "chance": 1 / len(names),
        "macro_recall": _macro_recall(hits, wanted, cases, len(names), seed),
        "without_images": [n for k, n in enumerate(names) if not (wanted == k).any()],
        "by_condition": [
            {
                "condition": name,
                "scenes": int((wanted == k).sum()),
                **{
                    kind: share(hit[wanted == k], cases[wanted == k])
                    for kind, hit in hits.items()
                },
            }
            for k, name in enumerate(names)
        ],
        "confusion": {
            kind: _confusion(wanted, labels, len(names))
            for kind, labels in seen.items()
        },
        "conditions": list(names),
        "paper": PAPER,
    }


def _require_fitting(judge: Judge, names: Sequence[str], image_size: int) -> None:
    if tuple(judge.conditions) != tuple(names):
        raise InputError(
            f"the judge tells {', '.join(judge.conditions)}, the generator paints "
            f"{', '.join(names)}"
        )
    side = judge.model.input_shape[1]
    if side not in (None, image_size):
        raise InputError(
            f"the judge reads {side} × {side} pixels, the generator paints "
            f"{image_size} × {image_size}"
        )


def _look(judge: Judge, waiting: list, seen: dict[str, list[int]]) -> None:
    """Has the judge tell the (real, synthetic) images in `waiting`, and empties it."""
    if not waiting:
        return
    for kind, images in zip(seen, zip(*waiting, strict=True), strict=True):
        probabilities = predict(judge.model, np.stack(images))
        if not np.isfinite(probabilities).all():
            raise InputError(
                f"the judge's probabilities of {kind} images are not finite"
            )
        seen[kind] += probabilities.argmax(axis=1).tolist()
    waiting.clear()


def _macro_recall(hits, wanted, cases, count: int, seed: int) -> dict[str, Any]:
    values, resampled = macro_means(
        [hits["real"], hits["synthetic"]], wanted, cases, seed
    )
    found = {}
    for name, at in (("real", lambda v: v[0]), ("synthetic", lambda v: v[1])):
        interval = None if resampled is None else percentile_interval(at(resampled))
        found[name] = {"value": float(at(values)), "interval_95": interval}
    real, synthetic = found["real"], found["synthetic"]
    ratio = {"value": None, "interval_95": None}
    why = None
    if real["interval_95"] is None:
        why = "one case only: no interval"
    elif real["interval_95"][0] <= 1 / count:
        # Of two guesses the ratio is 1.
        why = "the judge itself is not surely better than guessing on real images"
    else:
        known = resampled[0] > 0
        ratios = resampled[1][known] / resampled[0][known]
        ratio = {
            "value": synthetic["value"] / real["value"],
            "interval_95": percentile_interval(ratios),
        }
    return {"real": real, "synthetic": synthetic, "ratio": {**ratio, "undefined": why}}


def _confusion(wanted, labels, count: int) -> list[list[int]]:
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (wanted, labels), 1)
    return confusion.tolist()
