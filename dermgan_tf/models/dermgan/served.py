"""The generator as a SavedModel that plain TensorFlow loads and serves.

Three signatures paint images, a fourth tells what the model is:

    serving_default   semantic_map uint8 [N, S, S, 3], seed int32 [N]
                      -> image uint8 [N, S, S, 3]
    from_annotation   condition string [N], fitzpatrick int32 [N],
                      boxes float32 [N, B, 4], seed int32 [N]
                      -> image uint8 [N, S, S, 3], semantic_map uint8 [N, S, S, 3]
    png               as from_annotation -> image_bytes string [N]
    metadata          -> metadata string: JSON

Boxes are [ymin, xmin, ymax, xmax], 0…1; boxes of four zeros are padding. Any N and B
are allowed, zero among them.
"""

import json
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.graph_png import encode_png_with_text
from dermgan_tf.models.saved_model import (
    IMAGES_IN_FLIGHT,
    SavedPainter,
    as_json,
    as_levels,
    load_saved_model,
    prepared_variables,
    save_with_metadata,
)
from dermgan_tf.output_folder import output_folder
from dermgan_tf.photos.semantic_map import (
    BOX_DECIMALS,
    MAX_SKIN_TYPE,
    condition_code,
    skin_type_code,
)
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.training.optimizer import dtype_policy
from dermgan_tf.version import __version__


def export_saved_model(
    generator: keras.Model,
    vocabulary: Vocabulary,
    path: str | os.PathLike,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the generator as a SavedModel, whole or not at all.

    Args:
        generator: the generator, called as generator(semantic_map, seed=seed).
        vocabulary: the conditions it was trained on.
        path: the folder to make.
        provenance: where the weights come from: JSON values, kept in the metadata.
        overwrite: bool. Whether a non-empty folder at `path` is replaced.

    Raises:
        InputError: if `path` is not free, or `provenance` is not JSON.
        OSError: if `path` cannot be written to.
    """
    with output_folder(path, overwrite) as folder:
        write_saved_model(generator, vocabulary, folder, provenance)


def write_saved_model(
    generator: keras.Model,
    vocabulary: Vocabulary,
    folder: pathlib.Path,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """`export_saved_model` into an empty folder, for callers that add to it.

    Raises:
        InputError: if `provenance` is not JSON.
        OSError: if the folder cannot be written to.
    """
    metadata = _metadata(generator, vocabulary, provenance)
    served = _ServedGenerator(*_prepared_for_inference(generator), vocabulary, metadata)
    signatures = {
        "serving_default": served.paint_maps,
        "from_annotation": served.paint_annotations,
        "png": served.paint_pngs,
        "metadata": served.tell_metadata,
    }
    save_with_metadata(served, signatures, metadata, folder)


def load_trained_generator(
    model_dir: str | os.PathLike, use_ema: bool = True
) -> tuple[keras.Model, Vocabulary, dict[str, Any]]:
    """Builds the generator that `train_gan` left in `model_dir`.

    Args:
        model_dir: a folder with model.json and generator weights.
        use_ema: bool. Whether the weights' moving average is taken where there is one.

    Returns:
        (generator, vocabulary, provenance): provenance is model.json without the
        vocabulary, with the name of the weights file added.

    Raises:
        InputError: if the folder has no model.json, a damaged one, no weights, or
            weights that do not fit.
    """
    from dermgan_tf.models.dermgan.networks import build_generator

    model_dir = pathlib.Path(model_dir)
    description = _read_model_json(model_dir)
    vocabulary = _vocabulary_of(description, model_dir / "model.json")
    sizes = {
        key: description[key]
        for key in ("image_size", "base_filters", "upsampling", "condition_levels")
        if key in description
    }
    try:
        generator = build_generator(**sizes)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{model_dir / 'model.json'}: no generator has {_listed(sizes)}: {error}"
        ) from error
    names = ["generator_ema.weights.h5"] if use_ema else []
    names.append("generator.weights.h5")
    weights = next((model_dir / n for n in names if (model_dir / n).is_file()), None)
    if weights is None:
        raise InputError(
            f"{model_dir} has no {' or '.join(names)}: training has not finished; "
            "run train_gan on it"
        )
    try:
        with warnings.catch_warnings():
            # Keras warns of every layer first, then raises.
            warnings.simplefilter("ignore")
            generator.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        # Keras explains over many lines; the first says what is wrong.
        cause = (
            str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        )
        raise InputError(
            f"{weights} does not fit the generator of model.json "
            f"({_listed(sizes)}): {cause}"
        ) from error
    provenance = {k: v for k, v in description.items() if k != "conditions"}
    return generator, vocabulary, {**provenance, "weights": weights.name}


def _read_model_json(model_dir: pathlib.Path) -> dict[str, Any]:
    path = model_dir / "model.json"
    if not path.is_file():
        raise InputError(
            f"{model_dir} is not a model folder: it has no model.json; "
            "give the --model_dir of train_gan"
        )
    try:
        description = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(description, dict):
        raise InputError(f"{path} is damaged: want an object")
    return description


def _vocabulary_of(description: Mapping[str, Any], path: pathlib.Path) -> Vocabulary:
    conditions = description.get("conditions")
    if not isinstance(conditions, list):
        raise InputError(f"{path} is damaged: it has no list `conditions`")
    try:
        return Vocabulary(conditions)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _metadata(
    generator: keras.Model,
    vocabulary: Vocabulary,
    provenance: Mapping[str, Any] | None,
) -> dict[str, Any]:
    metadata = {
        "synthetic": True,
        "software": f"dermgan_tf {__version__}",
        "generator": weights_fingerprint(generator),
        "image_size": int(generator.image_size),
        "vocabulary": list(vocabulary.conditions),
        "provenance": dict(provenance or {}),
    }
    return as_json(metadata)


def _prepared_for_inference(
    generator: keras.Model,
) -> tuple[keras.Model, list[tf.Variable]]:
    """A copy of the generator that leaves no work on its weights to each image.

    Weights are kept in the number format of the computations, and the kernels of
    `ResizeConv2D` in the shape that the fastest form wants.

    Returns:
        The copy, and the variables it uses. Of another class than `Generator`, the
        very generator that was given.
    """
    from dermgan_tf.models.dermgan.networks import Generator

    if not isinstance(generator, Generator):
        return generator, [variable.value for variable in generator.variables]
    with dtype_policy(generator.compute_dtype):
        copy = Generator.from_config(generator.get_config())
    copy.set_weights(generator.get_weights())
    return copy, prepared_variables(copy.network)


class _ServedGenerator(tf.Module):
    """What is saved: the weights and one traced function a signature."""

    def __init__(self, generator, weights, vocabulary, metadata):
        super().__init__()
        size = int(generator.image_size)
        # The bare variables: nothing of Keras is then needed to load them again.
        self.weights = weights
        # One text in every process, so that equal models answer equally.
        metadata_text = json.dumps(metadata, ensure_ascii=False)
        file_text = {
            "synthetic": "true",
            "software": metadata["software"],
            "generator": metadata["generator"],
        }
        maps = tf.TensorSpec([None, size, size, 3], tf.uint8)
        seeds = tf.TensorSpec([None], tf.int32)
        annotation = {
            "condition": tf.TensorSpec([None], tf.string),
            "fitzpatrick": tf.TensorSpec([None], tf.int32),
            "boxes": tf.TensorSpec([None, None, 4], tf.float32),
            "seed": seeds,
        }

        @tf.function(input_signature=[maps, seeds])  # traced once for all signatures
        def paint(semantic_map, seed):
            return tf.map_fn(
                lambda one: _paint_one(generator, *one),
                (semantic_map, seed),
                fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
                parallel_iterations=IMAGES_IN_FLIGHT,
            )

        def paint_annotations(condition, fitzpatrick, boxes, seed):
            checks = [_require_boxes(boxes)] + [
                _require_entries(name, value, seed)
                for name, value in (
                    ("condition", condition),
                    ("fitzpatrick", fitzpatrick),
                    ("boxes", boxes),
                )
            ]
            with tf.control_dependencies(checks):
                condition, fitzpatrick, boxes, seed = tf.nest.map_structure(
                    tf.identity, (condition, fitzpatrick, boxes, seed)
                )
            semantic_map = encode_semantic_maps(
                condition, fitzpatrick, boxes, size, vocabulary
            )
            return paint(semantic_map, seed), semantic_map

        @tf.function(input_signature=[maps, seeds])
        def paint_maps(semantic_map, seed):
            with tf.control_dependencies([_require_maps(semantic_map, seed, size)]):
                return {"image": paint(tf.identity(semantic_map), tf.identity(seed))}

        @tf.function(input_signature=list(annotation.values()))
        def paint_both(condition, fitzpatrick, boxes, seed):
            image, semantic_map = paint_annotations(condition, fitzpatrick, boxes, seed)
            return {"image": image, "semantic_map": semantic_map}

        @tf.function(input_signature=list(annotation.values()))
        def paint_pngs(condition, fitzpatrick, boxes, seed):
            image, _ = paint_annotations(condition, fitzpatrick, boxes, seed)
            text = {
                "condition": condition,
                "fitzpatrick": tf.strings.as_string(fitzpatrick),
                "boxes": _boxes_json(boxes),
                "seed": tf.strings.as_string(seed),
            }
            return {"image_bytes": encode_png_with_text(image, file_text, text)}

        @tf.function(input_signature=[])
        def tell_metadata():
            return {"metadata": tf.constant(metadata_text)}

        self.paint_maps = paint_maps
        self.paint_annotations = paint_both
        self.paint_pngs = paint_pngs
        self.tell_metadata = tell_metadata


def _paint_one(generator, semantic_map, seed):
    scaled = tf.cast(semantic_map, tf.float32)[tf.newaxis] / 127.5 - 1.0
    return as_levels(generator(scaled, seed=seed[tf.newaxis])[0])


def _require_maps(semantic_map, seed, size):
    # Compared as texts: the declared shape would let the comparison of the numbers be
    # folded away before it runs.
    given = tf.strings.format("{}", tf.shape(semantic_map))
    wanted = tf.strings.format(f"[{{}} {size} {size} 3]", tf.shape(seed)[0])
    message = tf.strings.join(
        ["semantic_map has shape ", given, "; want ", wanted, ", one map a seed"]
    )
    return tf.debugging.Assert(tf.equal(given, wanted), [message])


def _require_boxes(boxes):
    given = tf.strings.format("{}", tf.shape(boxes))
    message = tf.strings.join(["boxes has shape ", given, "; want [N B 4]"])
    good = tf.strings.regex_full_match(given, r"\[\d+ \d+ 4\]")
    return tf.debugging.Assert(good, [message])


def _require_entries(name, value, seed):
    count, wanted = tf.shape(value)[0], tf.shape(seed)[0]
    message = tf.strings.format(
        f"{name} has {{}} entries; want {{}}, one a seed", (count, wanted)
    )
    return tf.debugging.Assert(tf.equal(count, wanted), [message])


def encode_semantic_maps(
    condition: tf.Tensor,
    fitzpatrick: tf.Tensor,
    boxes: tf.Tensor,
    size: int,
    vocabulary: Vocabulary,
) -> tf.Tensor:
    """Paints a batch of semantic maps with TensorFlow operations alone.

    Equal byte for byte to `dermgan_tf.photos.semantic_map.encode_semantic_map` on the
    same (float32) boxes. Bad values fail when the operations run, as
    InvalidArgumentError naming the value and the valid ones.

    Args:
        condition: string [N], names of `vocabulary`: the condition of all of a map's
            boxes.
        fitzpatrick: int32 [N], 0…6; 0 = unknown.
        boxes: float32 [N, B, 4], [ymin, xmin, ymax, xmax] in 0…1; four zeros are
            padding.
        size: int. Height and width of the maps in pixels.
        vocabulary: the conditions that may be painted.

    Returns:
        uint8 [N, size, size, 3].
    """
    names = tf.constant([name.encode() for name in vocabulary])
    matches = tf.equal(condition[:, tf.newaxis], names)  # [N, K]
    padding = tf.reduce_all(tf.equal(boxes, 0.0), axis=-1)  # [N, B]
    known = tf.reduce_any(matches, axis=-1)
    typed = (fitzpatrick >= 0) & (fitzpatrick <= MAX_SKIN_TYPE)
    checks = [
        _require(
            known,
            condition,
            "unknown condition `",
            f"`; known: {', '.join(vocabulary)}",
        ),
        _require(
            typed,
            tf.strings.as_string(fitzpatrick),
            "unknown Fitzpatrick skin type ",
            f"; valid: 0 (unknown), 1…{MAX_SKIN_TYPE}",
        ),
        _require(
            padding | _is_box(boxes),
            _box_text(boxes),
            "bad box ",
            "; valid: [ymin, xmin, ymax, xmax] in 0…1 with ymin < ymax and "
            "xmin < xmax, or four zeros as padding",
        ),
    ]
    with tf.control_dependencies(checks):
        index = tf.argmax(matches, axis=-1, output_type=tf.int32)
        skin_type = tf.identity(fitzpatrick)
        boxes = tf.identity(boxes)
    count = len(vocabulary)
    codes = tf.constant([condition_code(k, count) for k in range(count)], tf.uint8)
    tones = tf.constant([skin_type_code(t) for t in range(MAX_SKIN_TYPE + 1)], tf.uint8)
    code = tf.gather(codes, index)[:, tf.newaxis, tf.newaxis, :]  # [N, 1, 1, 2]
    top, left, bottom, right = tf.unstack(_box_pixels(boxes, size), axis=-1)  # [N, B]
    # All boxes of one map bear one condition, so that their order cannot be seen.
    pixels = tf.range(size)
    rows = (pixels >= top[..., tf.newaxis]) & (pixels < bottom[..., tf.newaxis])
    columns = (pixels >= left[..., tf.newaxis]) & (pixels < right[..., tf.newaxis])
    rows = rows & ~padding[..., tf.newaxis]  # [N, B, S]
    # A matrix product counts the boxes over each pixel without [N, B, S, S] in memory.
    covered = tf.matmul(
        tf.cast(rows, tf.float32), tf.cast(columns, tf.float32), transpose_a=True
    )
    condition_channels = tf.where(covered[..., tf.newaxis] > 0.5, code, tf.uint8.min)
    tone = tf.gather(tones, skin_type)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    tone = tf.broadcast_to(tone, tf.shape(condition_channels[..., :1]))
    maps = tf.concat([tone, condition_channels], axis=-1)
    return tf.ensure_shape(maps, [None, size, size, 3])


def _is_box(boxes):
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    # Comparisons with NaN are false, so that NaN is no box either.
    inside = tf.reduce_all((boxes >= 0.0) & (boxes <= 1.0), axis=-1)
    return inside & (ymin < ymax) & (xmin < xmax)


def _box_pixels(boxes, size):
    """`semantic_map.box_pixels` for [N, B, 4] boxes -> int32, the same numbers."""
    # There the sides are rounded to some decimals, which changes floor and ceil only
    # next to whole numbers. float64, as there.
    sides = tf.cast(boxes, tf.float64) * size
    whole = tf.round(sides)
    next_to = tf.abs(sides - whole) < 0.5 * 10.0**-BOX_DECIMALS
    sides = tf.where(next_to, whole, sides)
    low, high = tf.split(sides, 2, axis=-1)
    low = tf.minimum(tf.cast(tf.floor(low), tf.int32), size - 1)
    high = tf.cast(tf.math.ceil(high), tf.int32)
    high = tf.minimum(tf.maximum(high, low + 1), size)
    return tf.concat([low, high], axis=-1)


def _require(good, text, before: str, after: str):
    """An Assert that all of `good` holds; its message shows the first bad `text`."""
    bad = tf.boolean_mask(text, tf.logical_not(good))[:1]
    message = tf.strings.join([before, tf.strings.reduce_join(bad), after])
    return tf.debugging.Assert(tf.reduce_all(good), [message])


def _box_text(boxes):
    numbers = tf.strings.as_string(boxes, shortest=True)
    joined = tf.strings.reduce_join(numbers, axis=-1, separator=", ")
    return tf.strings.join(["[", joined, "]"])


def _boxes_json(boxes):
    """string [N]: the boxes of each map as a JSON list, padding left out."""
    real = tf.reduce_any(tf.not_equal(boxes, 0.0), axis=-1)
    kept = tf.ragged.boolean_mask(_box_text(boxes), real)
    joined = tf.strings.reduce_join(kept, axis=-1, separator=", ")
    return tf.strings.join(["[", joined, "]"])


class SavedGenerator(SavedPainter):
    """A generator exported by `export_saved_model`.

    Attributes: those of `SavedPainter`, and `vocabulary`.
    """

    def __init__(self, loaded: Any, metadata: dict[str, Any]):
        super().__init__(loaded, metadata)
        self._paint = loaded.signatures["serving_default"]
        self.vocabulary = Vocabulary(metadata["vocabulary"])

    def paint(self, semantic_maps: np.ndarray, seeds: Iterable[int]) -> np.ndarray:
        """Paints images; each depends on its own map and seed alone.

        Args:
            semantic_maps: np.uint8 [N, S, S, 3].
            seeds: N ints, int32.

        Returns:
            np.uint8 [N, S, S, 3], RGB.
        """
        outputs = self._paint(
            semantic_map=tf.constant(semantic_maps, tf.uint8),
            seed=tf.constant(seeds, tf.int32),
        )
        return outputs["image"].numpy()


def load_generator(path: str | os.PathLike) -> SavedGenerator:
    """Loads a generator that `export_saved_model` wrote.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one.
    """
    return load_saved_model(
        path, SavedGenerator, {"serving_default", "metadata"}, "export_generator"
    )
