"""The exported generator of photographs from noise: as the network, each seed alone."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.generation.seeds import between, film_strips, seeds_from, write_seeds
from dermgan_tf.judging.unconditional import nearest_sheet
from dermgan_tf.metrics.embeddings import build_embedding
from dermgan_tf.models.unconditional.networks import (
    build_latent_generator,
    latents_of_seeds,
)
from dermgan_tf.models.unconditional.served import (
    export_unconditional,
    load_unconditional,
)
from dermgan_tf.photos.square import turned

SIZE, LATENT = 16, 8


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = build_latent_generator(SIZE, 2, LATENT)
    for weight in network.weights:  # so that images differ by more than a level
        weight.assign(4 * weight)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "saved"
    export_unconditional(network, folder, {"trained_steps": 5})
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return load_unconditional(folder)


@pytest.mark.parametrize("truncation", [1.0, 0.4])
def test_it_paints_as_the_network_does(generator, network, truncation):
    seeds = [3, -5, 2**31 - 1]
    latents = truncation * latents_of_seeds(tf.constant(seeds), LATENT)
    np.testing.assert_allclose(generator.latents(seeds, truncation), latents, atol=1e-6)
    wanted = np.clip(np.rint((network(latents).numpy() + 1) * 127.5), 0, 255)
    for given in (generator.paint(seeds, truncation), generator.paint_latents(latents)):
        assert given.dtype == np.uint8 and np.abs(given - wanted).max() <= 1
    assert np.ptp(wanted, axis=0).mean() > 5


def test_an_image_depends_on_its_seed_alone(generator):
    seeds = [4, 9, 4, 1, 7]
    together = generator.paint(seeds)
    np.testing.assert_array_equal(together[0], together[2])
    for seed, image in zip(seeds, together, strict=True):
        np.testing.assert_array_equal(generator.paint([seed])[0], image)
    latents = generator.latents(seeds)
    np.testing.assert_array_equal(generator.paint_latents(latents), together)
    assert generator.paint([]).shape == (0, SIZE, SIZE, 3)


def test_truncation(generator):
    seeds = range(12)
    spreads = [
        np.std(generator.paint(seeds, truncation).astype(float), axis=0).mean()
        for truncation in (1.0, 0.5, 0.0)
    ]
    assert spreads[0] > spreads[1] > spreads[2] == 0
    for truncation in (-0.1, 1.5, float("nan")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="valid: 0 to 1"):
            generator.paint([1], truncation)
    with pytest.raises(tf.errors.InvalidArgumentError, match="latent is not finite"):
        generator.paint_latents(np.full((1, LATENT), np.inf))


def test_the_way_between_latents():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 64))
    way = between(a, b, 9)
    np.testing.assert_allclose(way[[0, -1]], [a, b], atol=1e-6)
    lengths = np.linalg.norm(way, axis=1)
    np.testing.assert_allclose(np.diff(lengths), np.diff(lengths)[0], atol=1e-5)
    directions = way / lengths[:, np.newaxis]
    steps = np.arccos((directions[1:] * directions[:-1]).sum(axis=1))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)  # it turns evenly
    assert np.linalg.matrix_rank(way, tol=1e-4) == 2  # and in one plane
    np.testing.assert_allclose(between(a, 2 * a, 3)[1], 1.5 * a, rtol=1e-6)
    np.testing.assert_array_equal(between(0 * a, 0 * a, 3), np.zeros((3, 64)))


def test_film_strips(generator):
    sheet = film_strips(generator, [3, 4, 5], frames=4)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    with pytest.raises(InputError, match="got 1 seeds and 4 frames"):
        film_strips(generator, [3], frames=4)
    with pytest.raises(InputError, match="truncation must be 0 to 1, got 2"):
        film_strips(generator, [3, 4], truncation=2)


def test_the_nearest_photographs(generator):
    """A photograph that is an image, turned, is found, and turned back."""
    seeds = [1, 2, 3]
    rng = np.random.default_rng(0)
    photos = list(rng.integers(0, 256, (6, SIZE, SIZE, 3), np.uint8))
    for place, (seed, turn) in {4: (1, 5), 0: (2, 6), 3: (3, 3)}.items():
        photos[place] = turned(generator.paint([seed])[0], turn)
    sheet, found = nearest_sheet(
        generator, seeds, lambda: iter(photos), build_embedding("pixels"), neighbours=2
    )
    assert [one["photographs"][0] for one in found] == [4, 0, 3]
    assert [one["distances"][0] for one in found] == [0, 0, 0]
    assert all(one["distances"][1] > 100 for one in found)
    assert sheet.shape[2] == 3


def test_many_images(generator, tmp_path):
    assert write_seeds(generator, range(20), tmp_path) == 20
    lines = (tmp_path / "generated.jsonl").read_text().splitlines()
    assert len(lines) == len(list((tmp_path / "images").iterdir())) == 20
    assert json.loads(lines[7])["seed"] == 7
    with pytest.raises(InputError, match="not within 0 to 2147483647"):
        seeds_from(2**31 - 3, 5)
    with pytest.raises(InputError, match="count must be at least 1"):
        seeds_from(0, 0)


def test_what_it_tells_of_itself(generator, folder, network, tmp_path):
    assert generator.metadata["provenance"] == {"trained_steps": 5}
    assert generator.metadata["synthetic"] is True and generator.image_size == SIZE
    written = (folder / "assets.extra" / "dermgan.json").read_text()
    assert json.loads(written) == generator.metadata
    with pytest.raises(InputError, match="not empty"):
        export_unconditional(network, folder)
    with pytest.raises(InputError, match="no saved_model.pb; give .* of export_uncond"):
        load_unconditional(tmp_path)


@pytest.mark.slow
def test_plain_tensorflow_loads_it(folder, generator, tmp_path):
    program = f"""
import sys
sys.modules["dermgan_tf"] = None
import numpy as np, tensorflow as tf
saved = tf.saved_model.load({str(folder)!r}).signatures
image = saved["serving_default"](seed=tf.constant([5]), truncation=tf.constant(0.7))
np.save("image.npy", image["image"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "image.npy"), generator.paint([5], 0.7)
    )
