"""What is measured: each function loads one contender and steps it for ever.

Networks work on one fixed batch in memory: a step of training is one update of both
networks, a step of inference paints the batch. Libraries are imported by the functions,
so that each process holds only its own.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence
from unittest import mock

import numpy as np

from benchmarks.interleave import Stopwatch

CROPS_PER_PHOTO = 4  # as prepare_pairs' own default


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        dtype: "float32" or "bfloat16", of the networks' arithmetic.
        image_size: int. Pixels.
        base_filters: int.
        batch_size: int.
    """

    dtype: str
    image_size: int = 256
    base_filters: int = 64
    batch_size: int = 4

    @property
    def half(self) -> bool:
        return self.dtype == "bfloat16"

    def images(self) -> np.ndarray:
        """float32 [2, N, S, S, 3] in [-1, 1]: semantic maps, photographs."""
        shape = (2, self.batch_size, self.image_size, self.image_size, 3)
        random = np.random.default_rng(0).uniform(-1, 1, shape)
        return random.astype(np.float32)


# --- training ---


def train_ours(
    case: Case,
    stopwatch: Stopwatch,
    form: str = "auto",
    thread_an_operation: bool = False,
) -> None:
    """DermGAN's step, compiled the way `fit` does it.

    Args:
        form: of all ResizeConv2D layers.
        thread_an_operation: bool. Whether the cores work at one operation each, rather
            than together at one; a setting of TensorFlow's.
    """
    if thread_an_operation:
        os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
        os.environ["TF_NUM_INTEROP_THREADS"] = str(os.cpu_count())
    import tensorflow as tf

    gan = build_dermgan(case, form)
    semantic_map, real = case.images()
    batch = {"semantic_map": semantic_map, "image": real}
    batches = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
    gan.make_train_function()
    while True:
        logs = gan.train_function(batches)
        float(np.ravel(logs["generator_loss"])[0])
        stopwatch.step_done(case.batch_size)


def fit_ours(case: Case, data_dir: str, stopwatch: Stopwatch) -> None:
    """`fit` with pairs read from disk."""
    import keras

    from dermgan_tf.pairs.pairs import load_pairs

    class Timed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            float(np.ravel(logs["generator_loss"])[0])
            stopwatch.step_done(case.batch_size)

    gan = build_dermgan(case)
    pairs = load_pairs(data_dir, "train", case.batch_size, repeat=True)
    gan.fit(pairs, steps_per_epoch=10**9, verbose=0, callbacks=[Timed()])


def train_keras_pix2pix(case: Case, stopwatch: Stopwatch, upsampling: str) -> None:
    import tensorflow as tf

    _set_policy(case)
    from benchmarks.keras_pix2pix import Pix2Pix

    gan = Pix2Pix(case.image_size, case.base_filters, upsampling)
    semantic_map, real = map(tf.constant, case.images())
    while True:
        float(gan.train_step(semantic_map, real))
        stopwatch.step_done(case.batch_size)


def train_pytorch(case: Case, stopwatch: Stopwatch) -> None:
    from benchmarks.torch_pix2pix import Pix2Pix

    gan = Pix2Pix(case.image_size, case.base_filters, case.half)
    semantic_map, real = map(gan.tensor, case.images())
    while True:
        gan.train_step(semantic_map, real)
        stopwatch.step_done(case.batch_size)


# --- inference ---


def paint_ours(case: Case, saved_model: str, stopwatch: Stopwatch) -> None:
    """The exported generator, loaded with plain TensorFlow: uint8 in, uint8 out."""
    import tensorflow as tf

    model = tf.saved_model.load(saved_model)
    paint = model.signatures["serving_default"]
    semantic_map = tf.constant(((case.images()[0] + 1) * 127.5).astype(np.uint8))
    seed = tf.range(case.batch_size)
    while True:
        paint(semantic_map=semantic_map, seed=seed)["image"].numpy()
        stopwatch.step_done(case.batch_size)


def paint_keras_pix2pix(case: Case, stopwatch: Stopwatch, upsampling: str) -> None:
    import tensorflow as tf

    _set_policy(case)
    from benchmarks.keras_pix2pix import Pix2Pix

    gan = Pix2Pix(case.image_size, case.base_filters, upsampling)
    semantic_map = tf.constant(case.images()[0])
    while True:
        gan.paint(semantic_map).numpy()
        stopwatch.step_done(case.batch_size)


def paint_pytorch(case: Case, stopwatch: Stopwatch, way: str) -> None:
    """PyTorch in evaluation mode.

    Args:
        way: as of `Pix2Pix.inference`.
    """
    import torch

    from benchmarks.torch_pix2pix import Pix2Pix

    gan = Pix2Pix(case.image_size, case.base_filters, case.half)
    semantic_map = gan.tensor(case.images()[0])
    with torch.inference_mode():
        paint = gan.inference(semantic_map, way)
        while True:
            paint()
            stopwatch.step_done(case.batch_size)


def export_ours(case: Case, path: str) -> None:
    """Writes the SavedModel that `paint_ours` loads."""
    from dermgan_tf.models.dermgan.served import export_saved_model
    from dermgan_tf.photos.vocabulary import Vocabulary

    generator = build_dermgan(case).generator
    export_saved_model(generator, Vocabulary(["melanoma", "eczema"]), path)


# --- the limit ---


def multiply(
    half: bool, library: str, sizes: Sequence[int], stopwatch: Stopwatch
) -> None:
    """Products of square matrices, at the size that suits the library best.

    A step's items are GFLOP.
    """
    products = {size: matrix_product(library, size, half) for size in sizes}
    rates = {}
    for size, product in products.items():
        product()
        start = time.perf_counter()
        product()
        rates[size] = size**3 / (time.perf_counter() - start)
    size = max(rates, key=rates.get)
    while True:
        products[size]()
        stopwatch.step_done(2 * size**3 / 1e9)


def matrix_product(library: str, size: int, half: bool):
    matrix = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    if library == "numpy":
        out = np.empty_like(matrix)
        return lambda: np.matmul(matrix, matrix, out=out)
    if library == "pytorch":
        import torch

        tensor = torch.from_numpy(matrix)
        tensor = tensor.to(torch.bfloat16) if half else tensor
        result = torch.empty_like(tensor)
        return lambda: torch.matmul(tensor, tensor, out=result)
    import tensorflow as tf

    tensor = tf.constant(matrix, tf.bfloat16 if half else tf.float32)
    return lambda: tf.linalg.matmul(tensor, tensor)[0, 0].numpy()


# --- data ---


def prepare_pairs(photos: str, image_size: int, stopwatch: Stopwatch) -> None:
    """Pairs from annotated photographs on disk, in one process."""
    import cv2

    from dermgan_tf.pairs.prepare import prepare_pairs
    from dermgan_tf.pairs.sources import AnnotatedPhoto
    from dermgan_tf.photos.annotations import annotations_vocabulary, read_annotations

    cv2.setNumThreads(1)
    annotations, _ = read_annotations(pathlib.Path(photos) / "annotations.jsonl")
    vocabulary = annotations_vocabulary(annotations)
    sources = [AnnotatedPhoto(photos, annotation) for annotation in annotations]
    with tempfile.TemporaryDirectory() as folder:
        while True:
            info = prepare_pairs(
                sources,
                vocabulary,
                pathlib.Path(folder) / "pairs",
                image_size,
                CROPS_PER_PHOTO,
                workers=1,
                overwrite=True,
            )
            stopwatch.step_done(sum(info["crops"].values()))


def prepare_bare(photos: str, image_size: int, stopwatch: Stopwatch) -> None:
    """The least that crops take: decode a photo, resize and encode each crop of it."""
    import cv2

    cv2.setNumThreads(1)
    for path in itertools.cycle(sorted(pathlib.Path(photos).glob("photos/*.jpg"))):
        bare_crops(str(path), image_size)
        stopwatch.step_done(CROPS_PER_PHOTO)


def bare_crops(path: str, image_size: int) -> list[np.ndarray]:
    """The PNGs of a photo's crops, by the least that they take."""
    import cv2

    settings = [  # as `dermgan_tf.pairs.cutting` has them for photographs
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    ]
    photo = cv2.imread(path)
    side = min(photo.shape[:2])
    pngs = []
    for i in range(CROPS_PER_PHOTO):
        top, left = (
            i * (extent - side) // CROPS_PER_PHOTO for extent in photo.shape[:2]
        )
        crop = photo[top : top + side, left : left + side]
        crop = cv2.resize(crop, (image_size, image_size), interpolation=cv2.INTER_AREA)
        pngs.append(cv2.imencode(".png", crop, settings)[1])
    return pngs


def draw_phantoms(num_cases: int, stopwatch: Stopwatch) -> None:
    """Phantom photographs of the default size, on one core."""
    import cv2

    from dermgan_tf.phantom import case_plan, draw_photo, phantom_vocabulary

    cv2.setNumThreads(1)
    vocabulary = phantom_vocabulary()
    for case in itertools.cycle(case_plan(num_cases, vocabulary, seed=0)):
        draw_photo(case, 0, vocabulary)
        stopwatch.step_done(1)


# --- the Fréchet distance ---


def frechet_ours(shape: tuple[int, int], stopwatch: Stopwatch) -> None:
    from dermgan_tf.metrics import frechet_distance

    a, b = _activations(shape)
    while True:
        stopwatch.note(distance=frechet_distance(a, b))
        stopwatch.step_done(1)


def frechet_tfgan(shape: tuple[int, int], stopwatch: Stopwatch) -> None:
    from dermgan_tf.metrics.tfgan import tfgan

    distance = tfgan.eval.frechet_classifier_distance_from_activations
    a, b = _activations(shape)
    while True:
        stopwatch.note(distance=float(distance(a, b)))
        stopwatch.step_done(1)


def _activations(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two sets, correlated and not negative like an embedding's, float32."""
    samples, features = shape
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(features, features)) / np.sqrt(features)
    sets = [rng.normal(shift, size=shape) @ mix for shift in (0.0, 0.1)]
    return tuple(np.maximum(s, 0).astype(np.float32) for s in sets)


# --- what the functions above share ---


def _set_policy(case: Case) -> None:
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16" if case.half else "float32")


def build_dermgan(case: Case, form: str = "auto"):
    """A compiled DermGAN, its ResizeConv2D layers in one of their forms."""
    import dermgan_tf as dg

    _set_policy(case)
    upsampling = "transposed_conv" if form == "transposed_conv" else "resize_conv"
    layer = dg.ResizeConv2D
    if upsampling == "resize_conv" and form != "auto":
        layer = functools.partial(dg.ResizeConv2D, form=form)
    with mock.patch("dermgan_tf.models.dermgan.networks.ResizeConv2D", layer):
        gan = dg.DermGAN(
            dg.build_generator(case.image_size, case.base_filters, upsampling),
            dg.build_discriminator(case.image_size, case.base_filters),
        )
    gan.compile(loss_weights={"diversity": 0.0})  # the peers have no such loss
    return gan
