"""Planted copies among all that is trained on; what is not looked for again."""

import dataclasses
import types

import numpy as np
import pytest

from dermgan_tf.classifier.leakage import look_for_copies
from dermgan_tf.errors import InputError
from pipelines.shared import classifier_flags
from tests.helpers.coloured_spots import spots


class Pixels:
    """An embedding that counts what it sees."""

    name, fingerprint = "pixels", "1"

    def __init__(self):
        self.seen = 0

    def embed(self, images, batch_size=32):
        flat = np.array([image[::4, ::4].ravel() for image in images], np.float32)
        self.seen += len(flat)
        return flat


SPLITS = {"train": spots(30, 0), "validation": spots(12, 1), "test": spots(9, 2)}


def with_copies(images, held_out, places):
    """`images` with its first ones replaced by copies of held-out photos."""
    pixels = np.array(images.images)
    for i, place in enumerate(places):
        pixels[i] = held_out.images[place][:, ::-1]
    return dataclasses.replace(images, images=pixels)


def test_clean_sets_pass_with_one_look_at_each_image():
    embedding = Pixels()
    painted = dataclasses.replace(spots(15, 3), cases=None)
    more = spots(6, 4)
    found = look_for_copies(SPLITS, embedding, {"gan": painted}, more_photos=more)
    assert embedding.seen == 30 + 15 + 6 + 4 * (12 + 9)  # of held-out ones the flips
    assert found == {
        "embedding": "pixels",
        "of": found["of"],
        "photos": 36,
        "synthetic": 15,
        "found": 0,
        "pairs": "",
    }
    again = look_for_copies(
        SPLITS, embedding, {"gan": painted}, more_photos=more, known=found
    )
    assert again == found and embedding.seen == 135  # nothing was looked at again
    look_for_copies(SPLITS, embedding, known=found)
    assert embedding.seen == 135 + 30 + 84  # other images


def test_planted_copies_in_training_are_named():
    splits = {**SPLITS, "train": with_copies(SPLITS["train"], SPLITS["test"], range(5))}
    with pytest.raises(
        InputError,
        match=r"5 of 30 training .* p0-0 of p2-0 \(test\), p0-1 of p2-1 \(test\),"
        r" p0-2 of p2-2 \(test\) and 2 more; .*--allow_copies to go on",
    ):
        look_for_copies(splits, Pixels())
    found = look_for_copies(splits, Pixels(), allow_copies=True)
    assert found["found"] == 5 and found["pairs"].startswith("p0-0 of p2-0 (test), ")
    # What was allowed once is not allowed by being known.
    embedding = Pixels()
    with pytest.raises(InputError, match="5 of 30 training photos"):
        look_for_copies(splits, embedding, known=found)
    assert embedding.seen == 0
    more = with_copies(spots(9, 4), SPLITS["validation"], [7])
    with pytest.raises(InputError, match=r"1 of 39 .* p4-0 of p1-7 \(validation\); "):
        look_for_copies(SPLITS, Pixels(), more_photos=more)


def test_synthetic_copies_are_never_allowed():
    painted = with_copies(spots(12, 3), SPLITS["validation"], [2])
    with pytest.raises(
        InputError,
        match=r"1 of 12 synthetic images \(gan\) .* p3-0 of p1-2 \(validation\); their",
    ):
        look_for_copies(SPLITS, Pixels(), {"gan": painted}, allow_copies=True)


# --- Which embedding ---


@pytest.fixture
def built(monkeypatch):
    """What would be built; published weights can be had for Inception alone."""
    asked = []

    def build(name, weights=None):
        asked.append((name, weights))
        if name == "mobilenet_v2" and weights is None:
            raise InputError("cannot be downloaded")
        return "built"

    monkeypatch.setattr("dermgan_tf.metrics.embeddings.build_embedding", build)
    return asked


def embedding_of(**flags):
    args = {
        "check_copies": None,
        "embedding": None,
        "embedding_weights": None,
        "architecture": "mobilenet_v2",
        "alpha": 1.0,
        "weights": "own.weights.h5",
    }
    return classifier_flags.copies_embedding(types.SimpleNamespace(**args | flags))


@pytest.mark.parametrize(
    "flags, asked",
    [
        ({}, ("mobilenet_v2", "own.weights.h5")),
        ({"embedding": "inception_v3"}, ("inception_v3", None)),
        ({"embedding_weights": "e.h5"}, ("mobilenet_v2", "e.h5")),
        ({"architecture": "small_conv", "weights": None, "embedding": "e.keras"}, None),
        ({"alpha": 0.35, "embedding_weights": "e.h5"}, ("mobilenet_v2", "e.h5")),
        ({"check_copies": True}, ("mobilenet_v2", "own.weights.h5")),
    ],
)
def test_copies_are_looked_for_where_an_embedding_is_at_hand(built, flags, asked):
    assert embedding_of(**flags) == "built"
    assert built == [asked or ("e.keras", None)]


@pytest.mark.parametrize(
    "flags, tried, told",
    [
        ({"architecture": "small_conv", "weights": None}, 0, "--embedding_weights"),
        ({"alpha": 0.35}, 0, "--embedding_weights"),
        ({"weights": "none"}, 0, "--embedding_weights"),
        ({"weights": None}, 1, "cannot be downloaded"),  # imagenet
        ({"check_copies": False}, 0, "--nocheck_copies"),
    ],
)
def test_else_a_line_says_that_they_are_not(built, caplog, flags, tried, told):
    assert embedding_of(**flags) is None and len(built) == tried
    assert len(caplog.messages) == 1 and told in caplog.text
    assert "are not looked for" in caplog.text


def test_what_is_asked_for_and_cannot_be_had_is_an_error(built):
    with pytest.raises(InputError, match="cannot be downloaded"):
        embedding_of(check_copies=True, weights=None)
    with pytest.raises(InputError, match="cannot be downloaded"):
        embedding_of(embedding="mobilenet_v2", alpha=0.5)
