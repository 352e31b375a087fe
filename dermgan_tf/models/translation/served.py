"""A trained translator as a SavedModel that plain TensorFlow loads and serves.

    serving_default   photo uint8 [N, S, S, 3], mask uint8 [N, S, S, 1]
                      -> photo uint8 [N, S, S, 3]
    any_size          photo uint8 [H, W, 3], mask uint8 [H, W, 1], H and W at least S
                      -> photo uint8 [H, W, 3]
    metadata          -> metadata string: JSON

Masks are white (> 127) where the photo is to change; 0 and 1 will do as well. A photo
with an empty mask comes back as it is, and a photo depends on its own mask alone: there
is no chance in it, and photos go through the network one by one (see
`dermgan_tf.models.dermgan.served`). Larger photos are painted in tiles that overlap by
half, only where the mask is, and blended.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.saved_model import (
    IMAGES_IN_FLIGHT,
    METADATA_FILE,
    SavedPainter,
    load_saved_model,
)
from dermgan_tf.models.translation.model import DIRECTIONS
from dermgan_tf.models.translation.networks import composed
from dermgan_tf.output_folder import output_folder, tensorflow_errors_as_os_errors
from dermgan_tf.photos.vocabulary import HEALTHY
from dermgan_tf.version import __version__


def export_translator(
    network: keras.Model,
    path: str | os.PathLike,
    compose: bool = True,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a translator as a SavedModel, whole or not at all.

    Args:
        network: as of `build_translator`, with a mask or without.
        path: the folder to make.
        compose: bool. Whether what is painted is taken inside the mask only. A network
            that reads no mask is composed in any case: the mask says where.
        provenance: where the weights come from: JSON values, kept in the metadata.
        overwrite: bool. Whether a non-empty folder at `path` is replaced.

    Raises:
        InputError: if `path` is not free, or `provenance` is not JSON.
        OSError: if `path` cannot be written to.
    """
    with output_folder(path, overwrite) as folder:
        write_translator(network, folder, compose, provenance)


def write_translator(
    network: keras.Model,
    folder: pathlib.Path,
    compose: bool = True,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """`export_translator` into an empty folder, for callers that add to it."""
    metadata = {
        "synthetic": True,
        "software": f"dermgan_tf {__version__}",
        "translator": weights_fingerprint(network),
        "image_size": int(network.output_shape[1]),
        "composed": bool(compose or not _reads_mask(network)),
        "provenance": dict(provenance or {}),
    }
    try:
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance cannot be written as JSON: {error}") from error
    served = _ServedTranslator(network, metadata["composed"], text)
    signatures = {
        "serving_default": served.translate,
        "any_size": served.translate_any_size,
        "metadata": served.tell_metadata,
    }
    with tensorflow_errors_as_os_errors(folder):
        tf.saved_model.save(served, os.fspath(folder), signatures=signatures)
    described = folder / METADATA_FILE
    described.parent.mkdir(exist_ok=True)
    described.write_text(text + "\n", "utf-8")


class _ServedTranslator(tf.Module):
    """What is saved: the weights and one traced function a signature."""

    def __init__(self, network, compose, metadata_text):
        super().__init__()
        size = int(network.output_shape[1])
        # The bare variables: nothing of Keras is then needed to load them again.
        self.weights = [variable.value for variable in network.variables]
        one = tf.TensorSpec([size, size, 3], tf.float32)

        def paint(photo, mask):
            """One photo, float32 [S, S, 3] in [-1, 1], and mask, float32 [S, S, 1]."""
            photo, mask = photo[tf.newaxis], mask[tf.newaxis]
            painted = network([photo, mask] if _reads_mask(network) else photo)
            return tf.cast(painted[0], tf.float32)

        def finished(photo, scaled, painted, mask):
            """Bytes of photos, [N, H, W, C]: their own where nothing is to change."""
            if compose:
                painted = composed(scaled, painted, mask, size)
            levels = tf.round((painted + 1.0) * 127.5)
            changed = tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)
            asked = tf.reduce_any(mask > 0, axis=(1, 2, 3), keepdims=True)
            return tf.where(asked, changed, photo)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, size, size, 3], tf.uint8, name="photo"),
                tf.TensorSpec([None, size, size, 1], tf.uint8, name="mask"),
            ]
        )
        def translate(photo, mask):
            given, wanted = tf.shape(mask)[0], tf.shape(photo)[0]
            check = tf.debugging.Assert(
                tf.equal(given, wanted),
                [tf.strings.format("{} masks for {} photos", (given, wanted))],
            )
            with tf.control_dependencies([check]):
                scaled = tf.cast(photo, tf.float32) / 127.5 - 1.0
            inside = tf.map_fn(_inside, mask, fn_output_signature=tf.float32)
            painted = tf.map_fn(
                lambda example: paint(*example),
                (scaled, inside),
                fn_output_signature=one,
                parallel_iterations=IMAGES_IN_FLIGHT,
            )
            return {"photo": finished(photo, scaled, painted, inside)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, 3], tf.uint8, name="photo"),
                tf.TensorSpec([None, None, 1], tf.uint8, name="mask"),
            ]
        )
        def translate_any_size(photo, mask):
            shape, mask_shape = tf.shape(photo)[:2], tf.shape(mask)[:2]
            checks = [
                _require_equal(mask_shape, shape),
                tf.debugging.Assert(
                    tf.reduce_all(shape >= size),
                    [
                        tf.strings.format("the photo has {} rows and columns", shape),
                        f"; at least {size} are wanted",
                    ],
                ),
            ]
            with tf.control_dependencies(checks):
                photo, inside = tf.identity(photo), _inside(tf.identity(mask))
            scaled = tf.cast(photo, tf.float32) / 127.5 - 1.0
            places = _tiles(shape, size)  # [T, S, S, 2]
            masks = tf.gather_nd(inside, places)
            asked = tf.reduce_any(masks > 0, axis=(1, 2, 3))
            places, masks = (tf.boolean_mask(x, asked) for x in (places, masks))
            painted = tf.map_fn(
                lambda tile: paint(*tile),
                (tf.gather_nd(scaled, places), masks),
                fn_output_signature=one,
                parallel_iterations=IMAGES_IN_FLIGHT,
            )
            weight = tf.constant(_feather(size))  # [S, S, 1]
            total = tf.scatter_nd(
                places,
                tf.concat([painted * weight, tf.zeros_like(masks) + weight], -1),
                tf.concat([shape, [4]], 0),
            )
            blended = tf.where(
                total[..., 3:] > 0, total[..., :3] / total[..., 3:], scaled
            )
            result = finished(
                *(x[tf.newaxis] for x in (photo, scaled, blended, inside))
            )
            return {"photo": result[0]}

        @tf.function(input_signature=[])
        def tell_metadata():
            return {"metadata": tf.constant(metadata_text)}

        self.translate = translate
        self.translate_any_size = translate_any_size
        self.tell_metadata = tell_metadata


def _reads_mask(network: keras.Model) -> bool:
    return len(network.inputs) == 2


def _inside(mask):
    """float32 of a mask, uint8 of any shape: 1 where it is white, or 1 of 0 and 1."""
    brightest = tf.cast(tf.reduce_max(mask), tf.int32)
    check = tf.debugging.Assert(
        (brightest <= 1) | (brightest > 127),
        [
            tf.strings.format(
                "the mask has no white: its brightest pixel is {} of 255", brightest
            )
        ],
    )
    with tf.control_dependencies([check]):
        threshold = tf.where(brightest > 1, 127, 0)
    return tf.cast(tf.cast(mask, tf.int32) > threshold, tf.float32)


def _require_equal(mask_shape, shape):
    message = tf.strings.format(
        "the mask has {} rows and columns, the photo {}", (mask_shape, shape)
    )
    return tf.debugging.Assert(tf.reduce_all(mask_shape == shape), [message])


def _tiles(shape, size: int):
    """The pixels of tiles that cover a photo, each overlapping the next by half.

    Args:
        shape: int32 [2], rows and columns, at least `size`.
        size: int. Side of a tile.

    Returns:
        int32 [T, size, size, 2]: row and column of each pixel.
    """

    def starts(length):
        room = length - size
        count = (room + size // 2 - 1) // (size // 2) + 1
        steps = tf.cast(tf.range(count), tf.float32) / tf.cast(
            tf.maximum(count - 1, 1), tf.float32
        )
        return tf.cast(tf.round(steps * tf.cast(room, tf.float32)), tf.int32)

    tops, lefts = tf.meshgrid(starts(shape[0]), starts(shape[1]), indexing="ij")
    origins = tf.reshape(tf.stack([tops, lefts], -1), [-1, 1, 1, 2])
    grid = np.stack(np.meshgrid(range(size), range(size), indexing="ij"), -1)
    return origins + tf.constant(grid[np.newaxis], tf.int32)


def _feather(size: int) -> np.ndarray:
    """The weight of a tile's pixels: 1 in its middle, near 0 at its border."""
    ramp = 1 - np.abs((np.arange(size) + 0.5) / size * 2 - 1)  # 1/S … 1 … 1/S
    return (ramp[:, np.newaxis] * ramp)[..., np.newaxis].astype(np.float32)


SIGNATURES = ("serving_default", "any_size", "metadata")
BATCH_SIZE = 16  # photos per call: large enough to hide the call's own cost


class SavedTranslator(SavedPainter):
    """A network that adds or removes pathology where a mask says so.

    Attributes: those of `SavedPainter`, and
        direction: "add" or "remove".
        condition: str. What is seen inside the mask of what it paints: of a remover
            "healthy skin"; of a network that adds, what it was trained on, or None
            where that were several conditions, for which it has no input.
        trained_on: str. Fingerprint of the patches that it was trained on, or None.

    Raises:
        InputError: for metadata that do not tell the direction.
    """

    fingerprint_key = "translator"

    def __init__(self, loaded: Any, metadata: dict[str, Any]):
        super().__init__(loaded, metadata)
        provenance = metadata["provenance"]
        self.direction = provenance.get("direction")
        if self.direction not in DIRECTIONS:
            raise InputError(
                f"its direction is {self.direction!r}, not add or remove: export it "
                "with export_translator"
            )
        known = provenance.get("pathology") or []
        added = str(known[0]) if len(known) == 1 else None
        self.condition = added if self.direction == "add" else HEALTHY
        self.trained_on = provenance.get("data_fingerprint")

    def translate(self, photos: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Changes patches; each depends on its own mask alone.

        Args:
            photos: np.uint8 [N, S, S, 3], RGB.
            masks: bool [N, S, S].

        Returns:
            np.uint8 [N, S, S, 3].
        """
        run = self._loaded.signatures["serving_default"]
        changed = [np.zeros((0, *photos.shape[1:]), np.uint8)]
        for start in range(0, len(photos), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            given = run(photo=tf.constant(photos[rows]), mask=_bytes(masks[rows]))
            changed.append(given["photo"].numpy())
        return np.concatenate(changed)

    def translate_photo(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Changes a photo of any size from S on, in tiles.

        Args:
            photo: np.uint8 [H, W, 3], RGB.
            mask: bool [H, W].

        Returns:
            np.uint8 [H, W, 3].
        """
        if not mask.any():  # as the SavedModel would, at no cost
            return photo
        run = self._loaded.signatures["any_size"]
        return run(photo=tf.constant(photo), mask=_bytes(mask))["photo"].numpy()

    def provenance(self, **texts: Any) -> dict[str, str]:
        """The PNG texts of an image, with those given.

        "generator" is what classifiers look for in the images they are trained on.
        """
        return super().provenance(
            translator=self.fingerprint, direction=self.direction, **texts
        )


def load_translator(path: str | os.PathLike) -> SavedTranslator:
    """Loads a translator that `export_translator` wrote.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one.
    """
    return load_saved_model(path, SavedTranslator, SIGNATURES, "export_translator")


def _bytes(masks: np.ndarray) -> tf.Tensor:
    return tf.constant(masks[..., np.newaxis].astype(np.uint8) * 255)
