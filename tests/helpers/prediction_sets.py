"""Predictions drawn at random, for tests of their comparison."""

import numpy as np

from dermgan_tf.classifier.predictions import Predictions
from dermgan_tf.studies.arms import Arm


def predictions(labels, probabilities, cases=None, skin_types=None, conditions=None):
    """Predictions of photos "i0", "i1", …, each its own case by default."""
    probabilities = np.asarray(probabilities, float)
    n, k = probabilities.shape
    cases = range(n) if cases is None else cases
    return Predictions(
        image_ids=np.array([f"i{i}" for i in range(n)]),
        cases=np.array([f"c{case}" for case in cases]),
        skin_types=np.array([0] * n if skin_types is None else skin_types),
        labels=np.array(labels),
        probabilities=probabilities,
        conditions=tuple(conditions or (f"k{i}" for i in range(k))),
        source="predictions.csv",
    )


def drawn_arms(seeds=(2, 2), photos=300, cases=120, conditions=5, seed=0, gain=0.5):
    """Two arms, the second a little better; conditions differ in how rare they are."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, conditions + 1)
    label = rng.choice(conditions, cases, p=shares / shares.sum())
    label[:conditions] = range(conditions)
    skin_type = rng.choice(7, cases, p=[0.1, 0.25, 0.25, 0.2, 0.1, 0.09, 0.01])
    case = np.concatenate([np.arange(cases), rng.integers(cases, size=photos - cases)])
    ease = rng.normal(size=(cases, conditions))
    arms = []
    for number, count in enumerate(seeds):
        files = []
        for _ in range(count):
            logits = ease[case] + rng.normal(size=(photos, conditions))
            logits[np.arange(photos), label[case]] += 1 + gain * number
            exps = np.exp(logits)
            files.append(
                predictions(
                    label[case],
                    exps / exps.sum(axis=1, keepdims=True),
                    case,
                    skin_type[case],
                )
            )
        arms.append(Arm(("baseline", "augmented")[number], tuple(files)))
    return arms
