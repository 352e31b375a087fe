import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import dermgan_tf as dg
from dermgan_tf.models.dermgan.networks import PatchLogits


def conv_count(size, in_channels, out_channels, bias):
    return size * size * in_channels * out_channels + (out_channels if bias else 0)


def generator_count(image_size, base, upsampling):
    """Parameters of the U-Net, derived by hand from the design."""
    kernel = 3 if upsampling == "resize_conv" else 4
    blocks = int(np.log2(image_size))
    filters = [min(2**i, 8) * base for i in range(blocks)]
    count = 0
    for i, f in enumerate(filters):
        norm = 0 < i < blocks - 1
        count += conv_count(4, filters[i - 1] if i else 3, f, bias=not norm)
        count += 2 * f if norm else 0
    x = filters[-1]
    for i, f in enumerate(reversed(filters[:-1])):
        count += conv_count(kernel, x, f, bias=False) + 2 * f
        count += f if i >= 3 else 0  # noise, in all but the three innermost
        x = 2 * f  # the skip joins
    return count + conv_count(kernel, x, 3, bias=True)


def discriminator_count(base):
    count, x = 0, 6
    for i, f in enumerate([base, 2 * base, 4 * base, 8 * base]):
        count += conv_count(4, x, f, bias=i == 0) + (2 * f if i else 0)
        x = f
    return count + conv_count(4, x, 1, bias=True)


@pytest.mark.parametrize("image_size", [64, 128, 256, 512])
@pytest.mark.parametrize("upsampling", ["resize_conv", "transposed_conv"])
def test_generator_parameters(image_size, upsampling):
    generator = dg.build_generator(image_size, 8, upsampling)
    assert generator.count_params() == generator_count(image_size, 8, upsampling)
    assert len(generator.trainable_weights) == len(generator.weights)


def test_the_papers_size():
    generator = dg.build_generator()
    assert generator.count_params() == generator_count(256, 64, "resize_conv")
    assert dg.build_discriminator().count_params() == discriminator_count(64)


@pytest.mark.parametrize("image_size", [64, 256])
@pytest.mark.parametrize("upsampling", ["resize_conv", "transposed_conv"])
def test_generator_output(image_size, upsampling):
    generator = dg.build_generator(image_size, 4, upsampling)
    maps = np.random.default_rng(0).uniform(-1, 1, (2, image_size, image_size, 3))
    images = generator(maps.astype("float32"))
    assert images.shape == (2, image_size, image_size, 3)
    assert images.dtype == tf.float32
    assert np.abs(images).max() <= 1


def test_image_depends_on_own_map_and_seed_alone():
    generator = dg.build_generator(64, 8)
    rng = np.random.default_rng(0)
    maps = rng.uniform(-1, 1, (4, 64, 64, 3)).astype("float32")
    seeds = np.array([3, -5, 2**31 - 1, 3], "int32")
    together = generator(maps, seed=seeds).numpy()
    for i in range(4):
        alone = generator(maps[i : i + 1], seed=seeds[i : i + 1]).numpy()[0]
        np.testing.assert_allclose(alone, together[i], atol=1e-5)
    same_map = generator(np.repeat(maps[:1], 4, axis=0), seed=[3, 3, 4, -5]).numpy()
    np.testing.assert_array_equal(same_map[0], same_map[1])
    assert np.abs(same_map[0] - same_map[2]).max() > 1e-3
    assert np.abs(same_map[0] - same_map[3]).max() > 1e-3


def test_without_seed_each_call_draws_anew():
    generator = dg.build_generator(64, 8)
    maps = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    assert np.abs(generator(maps) - generator(maps)).max() > 1e-4


def test_skin_colour_of_a_flat_map_reaches_the_image():
    """A normalisation that removes what is constant over an image would fail this."""
    generator = dg.build_generator(64, 8)
    maps = np.full((2, 64, 64, 3), -1, "float32")
    maps[1, ..., 0] = 1
    images = generator(maps, seed=[1, 1]).numpy()
    middle = images[:, 24:40, 24:40]
    assert np.abs(middle[0] - middle[1]).mean() > 1e-3


@pytest.mark.parametrize("image_size", [64, 256])
def test_discriminator_output(image_size):
    discriminator = dg.build_discriminator(image_size, 4)
    assert discriminator.count_params() == discriminator_count(4)
    x = np.zeros((2, image_size, image_size, 3), "float32")
    logits, features = discriminator([x, x])
    side = image_size // 8 - 2  # 30 at 256, as in pix2pix
    assert logits.shape == (2, side, side, 1)
    assert logits.dtype == tf.float32
    assert features.shape == (2, side + 1, side + 1, 32)


def test_receptive_field_is_70(monkeypatch):
    """Counts the pixels that one logit's gradient reaches."""
    from dermgan_tf.models.dermgan import networks as module

    # A norm layer sees the whole image; the receptive field is the convolutions'.
    monkeypatch.setattr(
        module, "norm_layer", lambda channels, name: keras.layers.Identity(name=name)
    )
    discriminator = module.build_discriminator(256, 2)
    discriminator.set_weights([np.abs(w) + 0.01 for w in discriminator.get_weights()])
    x = tf.ones((1, 256, 256, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits, _ = discriminator([x, x])
        one = logits[0, 15, 15, 0]
    reached = np.abs(tape.gradient(one, x).numpy()[0]).max(axis=-1) > 0
    rows, columns = (np.flatnonzero(reached.any(axis=a)) for a in (1, 0))
    assert rows.size == columns.size == 70
    assert rows[-1] - rows[0] == columns[-1] - columns[0] == 69


def test_saves_and_loads(tmp_path):
    generator = dg.build_generator(64, 4, "transposed_conv")
    maps = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = generator(maps, seed=[1, 2])
    generator.save(tmp_path / "generator.keras")
    loaded = keras.models.load_model(tmp_path / "generator.keras")
    np.testing.assert_array_equal(loaded(maps, seed=[1, 2]), expected)
    generator.save_weights(tmp_path / "generator.weights.h5")
    other = dg.build_generator(64, 4, "transposed_conv")
    other.load_weights(tmp_path / "generator.weights.h5")
    np.testing.assert_array_equal(other(maps, seed=[1, 2]), expected)


def test_mixed_precision_keeps_float32_weights_and_images():
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        generator = dg.build_generator(64, 4)
        discriminator = dg.build_discriminator(64, 4)
    finally:
        keras.config.set_dtype_policy(before)
    assert {w.dtype for w in generator.weights} == {"float32"}
    maps = tf.zeros((1, 64, 64, 3))
    images = generator(maps)
    logits, features = discriminator([maps, images])
    assert images.dtype == logits.dtype == tf.float32
    assert features.dtype == tf.bfloat16


@pytest.mark.parametrize(
    "arguments", [(100, 8), (32, 8), (64, 0), (64, 8, "nearest"), (1024, 8)]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError):
        dg.build_generator(*arguments)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path):
    """Networks and losses build, run and agree under Keras' other backends."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    generator = dg.build_generator(64, 4)
    maps = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    generator.save_weights(tmp_path / "generator.weights.h5")
    np.save(tmp_path / "maps.npy", maps)
    code = (
        "import sys, numpy as np, dermgan_tf as dg, keras\n"
        f"assert keras.backend.backend() == {backend!r}\n"
        "g = dg.build_generator(64, 4); g.load_weights('generator.weights.h5')\n"
        "m = np.load('maps.npy'); y = g(m, seed=np.array([1, 2], 'int32'))\n"
        "m = keras.ops.convert_to_tensor(m)\n"
        "d = dg.build_discriminator(64, 4); logits, features = d([m, y])\n"
        "assert np.isfinite(float(dg.losses.reconstruction_loss(m, y)))\n"
        "assert np.isfinite(float(dg.losses.generator_adversarial_loss(logits)))\n"
        "np.save('images.npy', keras.ops.convert_to_numpy(y))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"KERAS_BACKEND": backend, "PATH": "", "HOME": str(tmp_path)},
        check=True,
    )
    expected = generator(maps, seed=[1, 2]).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "images.npy"), expected, atol=1e-4)


def test_patch_logits_is_a_padded_convolution():
    layer = PatchLogits(kernel_initializer=keras.initializers.RandomNormal(seed=1))
    x = tf.random.normal((2, 7, 9, 24), seed=2)
    layer.build(x.shape)
    layer.bias.assign([0.3])

    def oracle(x):
        padded = [[0, 0], [1, 1], [1, 1], [0, 0]]
        return tf.nn.conv2d(x, layer.kernel.value, 1, padded) + layer.bias.value

    results = []
    for function in (layer, oracle):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            loss = tf.reduce_sum(tf.cos(y))
        variables = [x, layer.kernel.value, layer.bias.value]
        results.append([y, *tape.gradient(loss, variables)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.max(np.abs(theirs)))
