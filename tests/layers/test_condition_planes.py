"""One plane a condition, against the maps' own decoder."""

import keras
import numpy as np
import pytest

import dermgan_tf as dg
from dermgan_tf.layers.condition_planes import ConditionPlanes
from dermgan_tf.photos.semantic_map import codes_per_channel


def planes_of(semantic_map, levels):
    scaled = semantic_map[None] / np.float32(127.5) - 1
    return np.asarray(ConditionPlanes(levels)(scaled))[0]


@pytest.mark.parametrize("conditions", [1, 2, 8, 27, 60])
def test_each_condition_has_a_plane_of_its_own(conditions):
    vocabulary = dg.Vocabulary([f"condition {k}" for k in range(conditions)])
    levels = codes_per_channel(conditions)
    box = (0.25, 0.25, 0.75, 0.5)
    for k, name in enumerate(vocabulary):
        semantic_map = dg.encode_semantic_map(16, 4, [dg.Roi(box, name)], vocabulary)
        planes = planes_of(semantic_map, levels)
        assert planes.shape == (16, 16, 3 + levels**2)
        expected = np.zeros((16, 16, levels**2))
        expected[4:12, 4:8, k] = 1
        # Codes are rounded to bytes: up to half of one of 255 / levels.
        np.testing.assert_allclose(planes[..., 3:], expected, atol=1.01 * levels / 255)
        np.testing.assert_array_equal(
            planes[..., :3], semantic_map / np.float32(127.5) - 1
        )


def test_noise_hardly_changes_the_planes():
    vocabulary = dg.Vocabulary([f"condition {k}" for k in range(27)])
    roi = dg.Roi((0, 0, 1, 1), "condition 14")
    semantic_map = dg.encode_semantic_map(16, 4, [roi], vocabulary).astype(int)
    noise = np.random.default_rng(0).integers(-3, 4, semantic_map.shape)
    noisy = np.clip(semantic_map + noise, 0, 255).astype(np.uint8)
    apart = planes_of(noisy, 6)[..., 3:] - planes_of(semantic_map, 6)[..., 3:]
    assert np.abs(apart).max() < 2 * 3 * 6 / 255


def test_networks_with_planes_survive_a_file(tmp_path):
    generator = dg.build_generator(64, 4, condition_levels=3)
    assert generator.get_config()["condition_levels"] == 3
    maps = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    path = tmp_path / "generator.keras"
    generator.save(path)
    again = keras.saving.load_model(path)
    for weight, expected in zip(again.weights, generator.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(
        again(maps, seed=[1, 2]), generator(maps, seed=[1, 2])
    )
    logits, _ = dg.build_discriminator(64, 4, condition_levels=3)([maps, maps])
    assert logits.shape == (2, 6, 6, 1)
    with pytest.raises(ValueError, match="levels must be at least 1"):
        dg.build_generator(64, 4, condition_levels=0)
