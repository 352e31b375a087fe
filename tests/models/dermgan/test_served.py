"""The exported generator: contract, independence, errors, and life without us."""

import hashlib
import json
import os
import subprocess
import sys
import zlib

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

import dermgan_tf
from dermgan_tf.errors import InputError
from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import (
    encode_semantic_maps,
    export_saved_model,
    load_trained_generator,
)
from dermgan_tf.models.graph_png import crc32, encode_png_with_text
from dermgan_tf.photos.photo_io import read_png_text
from dermgan_tf.photos.semantic_map import Roi, encode_semantic_map
from dermgan_tf.photos.vocabulary import Vocabulary

SIZE = 64
VOCABULARY = Vocabulary(["melanoma", "eczéma, 湿疹", "SK/ISK", "{odd} [name]\\d"])


def make_generator(seed=0, base_filters=4):
    """A small generator whose random weights make vivid images."""
    generator = build_generator(SIZE, base_filters)
    rng = np.random.default_rng(seed)
    for weight in generator.weights:
        if weight.name == "kernel":
            scale = 1 / np.sqrt(np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(0, scale, weight.shape))
    return generator


@pytest.fixture(scope="module")
def generator():
    return make_generator()


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model"
    export_saved_model(generator, VOCABULARY, path, {"steps": 12, "seed": 3})
    return path


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(os.fspath(exported))
    yield loaded.signatures  # `loaded` must outlive them
    del loaded


def annotation(condition, fitzpatrick, boxes, seed):
    boxes = np.asarray(boxes, np.float32)
    return {
        "condition": tf.constant(condition, tf.string, shape=[len(condition)]),
        "fitzpatrick": tf.constant(fitzpatrick, tf.int32, shape=[len(fitzpatrick)]),
        "boxes": tf.constant(boxes),
        "seed": tf.constant(seed, tf.int32, shape=[len(seed)]),
    }


def example(count=16):
    """`count` different annotations, as inputs of a signature."""
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 0.5, (count, 2, 2))
    high = low + rng.uniform(0.1, 0.5, (count, 2, 2))
    boxes = np.concatenate([low, high], axis=-1)
    boxes[::3, 1] = 0  # padding
    return annotation(
        [VOCABULARY.conditions[i % len(VOCABULARY)] for i in range(count)],
        [i % 7 for i in range(count)],
        boxes,
        list(range(-2, count - 2)),
    )


def part(inputs, start, stop):
    return {name: value[start:stop] for name, value in inputs.items()}


# --- the contract ------------------------------------------------------------------


def test_signatures_have_the_documented_names_types_and_shapes(signatures):
    def described(specs):
        return {name: (s.dtype.name, s.shape.as_list()) for name, s in specs.items()}

    image = ("uint8", [None, SIZE, SIZE, 3])
    of_annotation = {
        "condition": ("string", [None]),
        "fitzpatrick": ("int32", [None]),
        "boxes": ("float32", [None, None, 4]),
        "seed": ("int32", [None]),
    }
    wanted = {
        "serving_default": (
            {"semantic_map": image, "seed": ("int32", [None])},
            {"image": image},
        ),
        "from_annotation": (of_annotation, {"image": image, "semantic_map": image}),
        "png": (of_annotation, {"image_bytes": ("string", [None])}),
        "metadata": ({}, {"metadata": ("string", [])}),
    }
    found = {
        name: (
            described(function.structured_input_signature[1]),
            described(function.structured_outputs),
        )
        for name, function in signatures.items()
    }
    assert found == wanted


def test_metadata_tells_what_the_model_is(signatures, exported, generator):
    metadata = json.loads(signatures["metadata"]()["metadata"].numpy())
    assert metadata == {
        "synthetic": True,
        "software": f"dermgan_tf {dermgan_tf.__version__}",
        "generator": weights_fingerprint(generator),
        "image_size": SIZE,
        "vocabulary": list(VOCABULARY),
        "provenance": {"steps": 12, "seed": 3},
    }
    text = (exported / "assets.extra/dermgan.json").read_text("utf-8")
    assert json.loads(text) == metadata


def test_the_three_signatures_paint_the_same_images(signatures):
    inputs = example(4)
    both = signatures["from_annotation"](**inputs)
    alone = signatures["serving_default"](
        semantic_map=both["semantic_map"], seed=inputs["seed"]
    )
    np.testing.assert_array_equal(both["image"], alone["image"])
    files = signatures["png"](**inputs)["image_bytes"].numpy()
    decoded = [tf.io.decode_png(file).numpy() for file in files]
    np.testing.assert_array_equal(decoded, both["image"])


def test_images_are_those_of_the_network(signatures, generator):
    inputs = example(4)
    both = signatures["from_annotation"](**inputs)
    scaled = both["semantic_map"].numpy().astype(np.float32) / 127.5 - 1
    wanted = (np.asarray(generator(scaled, seed=inputs["seed"])) + 1) * 127.5
    # Half a level of rounding, and the float noise between batch sizes.
    assert np.abs(both["image"].numpy() - wanted).max() <= 0.51
    assert both["image"].numpy().std() > 10  # vivid enough to compare anything at all


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_kernels_are_prepared_once_and_kept_in_the_computations_format(
    policy, tmp_path
):
    keras.config.set_dtype_policy(policy)
    try:
        wide = make_generator(base_filters=16)  # has every form of ResizeConv2D
    finally:
        keras.config.set_dtype_policy("float32")
    forms = {
        layer.chosen_form: layer.kernel.shape
        for layer in wide.network.layers
        if hasattr(layer, "chosen_form")
    }
    assert set(forms) == {"two_step", "folded", "winograd", "subpixel"}
    export_saved_model(wide, VOCABULARY, tmp_path / "model")
    loaded = tf.saved_model.load(os.fspath(tmp_path / "model"))
    kinds = {v.dtype for v in loaded.weights if v.dtype.is_floating}
    assert kinds == {tf.float32 if policy == "float32" else tf.bfloat16}
    shapes = {tuple(variable.shape) for variable in loaded.weights}
    assert tuple(forms["winograd"]) not in shapes
    c, f = forms["winograd"][2:]
    assert (c, 4 * f) in shapes
    inputs = example(4)
    painted = loaded.signatures["from_annotation"](**inputs)
    maps = tf.cast(painted["semantic_map"], tf.float32) / 127.5 - 1
    wanted = (wide(maps, seed=inputs["seed"]) + 1) * 127.5
    difference = np.abs(tf.cast(painted["image"], tf.float32) - wanted)
    # bfloat16 keeps 8 bits of each of some twenty layers
    assert difference.mean() < (0.3 if policy == "float32" else 3)


def test_png_files_carry_their_provenance(signatures, generator):
    inputs = annotation(
        ["eczéma, 湿疹", "melanoma"],
        [0, 6],
        [[[0.25, 0.125, 0.5, 1], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]],
        [5, -1],
    )
    texts = [
        read_png_text(f) for f in signatures["png"](**inputs)["image_bytes"].numpy()
    ]
    common = {
        "synthetic": "true",
        "software": f"dermgan_tf {dermgan_tf.__version__}",
        "generator": weights_fingerprint(generator),
    }
    assert texts[0] == common | {
        "condition": "eczéma, 湿疹",
        "fitzpatrick": "0",
        "boxes": "[[0.25, 0.125, 0.5, 1]]",
        "seed": "5",
    }
    assert texts[1] == common | {
        "condition": "melanoma",
        "fitzpatrick": "6",
        "boxes": "[]",
        "seed": "-1",
    }
    assert json.loads(texts[0]["boxes"]) == [[0.25, 0.125, 0.5, 1]]


@pytest.mark.parametrize("boxes", [0, 1, 5])
def test_an_empty_batch_is_painted(signatures, boxes):
    inputs = annotation([], [], np.zeros((0, boxes, 4)), [])
    both = signatures["from_annotation"](**inputs)
    assert both["image"].shape == both["semantic_map"].shape == (0, SIZE, SIZE, 3)
    assert signatures["png"](**inputs)["image_bytes"].shape == (0,)
    alone = signatures["serving_default"](
        semantic_map=both["semantic_map"], seed=inputs["seed"]
    )
    assert alone["image"].shape == (0, SIZE, SIZE, 3)


def test_no_boxes_and_padding_alone_are_the_same_skin(signatures):
    none = signatures["from_annotation"](
        **annotation(["melanoma"], [4], np.zeros((1, 0, 4)), [9])
    )
    padded = signatures["from_annotation"](
        **annotation(["melanoma"], [4], np.zeros((1, 3, 4)), [9])
    )
    np.testing.assert_array_equal(none["image"], padded["image"])
    wanted = encode_semantic_map(SIZE, 4, [], VOCABULARY)
    np.testing.assert_array_equal(padded["semantic_map"][0], wanted)


# --- independence ------------------------------------------------------------------


def test_an_image_is_the_same_bytes_in_any_batch(signatures):
    inputs = example(16)
    whole = signatures["from_annotation"](**inputs)["image"].numpy()
    for size in (1, 3, 8):
        for start in range(0, 16 - size + 1, size):
            some = signatures["from_annotation"](**part(inputs, start, start + size))
            np.testing.assert_array_equal(
                some["image"], whole[start : start + size], f"{size} from {start}"
            )
    turned = {name: value[::-1] for name, value in inputs.items()}
    backwards = signatures["from_annotation"](**turned)["image"].numpy()
    np.testing.assert_array_equal(backwards[::-1], whole)


def test_other_seeds_paint_other_images(signatures):
    inputs = annotation(
        ["melanoma"] * 6, [3] * 6, [[[0.2, 0.2, 0.7, 0.7]]] * 6, range(6)
    )
    images = signatures["from_annotation"](**inputs)["image"].numpy()
    assert len({image.tobytes() for image in images}) == 6


PLAIN_TENSORFLOW = """
import hashlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "dermgan_tf":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
try:
    import dermgan_tf
except ImportError:
    pass
else:
    sys.exit("dermgan_tf can be imported: this proves nothing")
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
inputs = json.loads(sys.argv[2])
types = {"condition": tf.string, "fitzpatrick": tf.int32, "boxes": tf.float32,
         "seed": tf.int32}
inputs = {k: tf.constant(v, types[k]) for k, v in inputs.items()}
image = model.signatures["from_annotation"](**inputs)["image"].numpy()
assert "dermgan_tf" not in sys.modules
metadata = json.loads(model.signatures["metadata"]()["metadata"].numpy())
print(json.dumps([[hashlib.sha256(i.tobytes()).hexdigest() for i in image],
                  metadata["vocabulary"]]))
"""


def test_plain_tensorflow_in_another_process_paints_the_same(
    signatures, exported, tmp_path
):
    inputs = example(5)
    here = signatures["from_annotation"](**inputs)["image"].numpy()
    values = {name: value.numpy().tolist() for name, value in inputs.items()}
    values["condition"] = [name.decode() for name in values["condition"]]
    # The other process gets the last three images only, in another order.
    values = {name: value[:1:-1] for name, value in values.items()}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", PLAIN_TENSORFLOW, str(exported), json.dumps(values)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    digests, vocabulary = json.loads(result.stdout)
    assert digests == [hashlib.sha256(i.tobytes()).hexdigest() for i in here[:1:-1]]
    assert vocabulary == list(VOCABULARY)


# --- what is refused ---------------------------------------------------------------

GOOD_BOX = [0.1, 0.2, 0.5, 0.6]


@pytest.mark.parametrize("name", ["from_annotation", "png"])
@pytest.mark.parametrize(
    ("condition", "fitzpatrick", "box", "message"),
    [
        ("mole", 1, GOOD_BOX, r"unknown condition `mole`; known: melanoma, eczéma"),
        ("", 1, GOOD_BOX, "unknown condition ``; known: melanoma"),
        ("melanoma", 7, GOOD_BOX, r"skin type 7; valid: 0 \(unknown\), 1…6"),
        ("melanoma", -1, GOOD_BOX, "skin type -1; valid: 0"),
        ("melanoma", 1, [0.5, 0.2, 0.1, 0.6], r"bad box \[0.5, 0.2, 0.1, 0.6\]; valid"),
        ("melanoma", 1, [0.5, 0.2, 0.5, 0.6], r"bad box \[0.5, 0.2, 0.5, 0.6\]"),
        ("melanoma", 1, [0.1, 0.2, 0.5, 1.5], r"bad box \[0.1, 0.2, 0.5, 1.5\]"),
        ("melanoma", 1, [-0.1, 0.2, 0.5, 0.6], r"bad box \[-0.1, 0.2, 0.5, 0.6\]"),
        ("melanoma", 1, [0.1, np.nan, 0.5, 0.6], r"bad box \[0.1, nan, 0.5, 0.6\]"),
        ("melanoma", 1, [0.1, 0.2, 0.5, np.inf], r"bad box \[0.1, 0.2, 0.5, inf\]"),
        ("melanoma", 1, [0.3, 0.3, 0.3, 0.3], r"bad box \[0.3, 0.3, 0.3, 0.3\]"),
    ],
)
def test_a_bad_value_fails_naming_it_and_the_valid_ones(
    signatures, name, condition, fitzpatrick, box, message
):
    # Last of three, behind padding: found wherever it stands.
    inputs = annotation(
        ["melanoma", "melanoma", condition],
        [1, 2, fitzpatrick],
        [[GOOD_BOX, GOOD_BOX], [GOOD_BOX, [0] * 4], [[0] * 4, box]],
        [1, 2, 3],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures[name](**inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition": ["melanoma"]}, "condition has 1 entries; want 2"),
        ({"fitzpatrick": [1, 2, 3]}, "fitzpatrick has 3 entries; want 2"),
        ({"boxes": np.zeros((1, 1, 4), np.float32)}, "boxes has 1 entries; want 2"),
        ({"boxes": np.zeros((2, 4), np.float32)}, r"boxes has shape \[2 4\]; want"),
        (
            {"boxes": np.zeros((2, 1, 3), np.float32)},
            r"shape \[2 1 3\]; want \[N B 4\]",
        ),
    ],
)
def test_inputs_of_different_lengths_fail(signatures, change, message):
    inputs = annotation(["melanoma"] * 2, [1, 2], [[GOOD_BOX]] * 2, [1, 2])
    inputs |= {name: tf.constant(value) for name, value in change.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["from_annotation"](**inputs)


@pytest.mark.parametrize(
    ("shape", "seeds"),
    [((2, 32, 32, 3), 2), ((64, 64, 3), 1), ((1, 64, 64, 3), 2), ((2, 64, 64, 4), 2)],
)
def test_a_map_of_another_shape_fails(signatures, shape, seeds):
    text = " ".join(str(side) for side in shape)
    message = rf"semantic_map has shape \[{text}\]; want \[{seeds} 64 64 3\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](
            semantic_map=tf.zeros(shape, tf.uint8), seed=tf.range(seeds)
        )


# --- maps painted by TensorFlow ----------------------------------------------------


@st.composite
def float32_boxes(draw, size):
    """Boxes with sides on pixel borders, a hair beside them, and anywhere."""

    def side():
        pixel = draw(st.integers(0, size))
        kind = draw(st.sampled_from(["border", "beside", "anywhere", "third"]))
        if kind == "border":
            value = pixel / size
        elif kind == "beside":
            value = pixel / size + draw(st.sampled_from([1, -1])) * draw(
                st.sampled_from([1e-9, 4e-5 / size, 6e-5 / size, 1e-5])
            )
        elif kind == "third":
            value = draw(st.integers(0, 3)) / 3
        else:
            value = draw(st.floats(0, 1))
        return np.float32(np.clip(value, 0, 1))

    ymin, ymax = sorted((side(), side()))
    xmin, xmax = sorted((side(), side()))
    hypothesis.assume(ymin < ymax and xmin < xmax)
    return [ymin, xmin, ymax, xmax]


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_maps_equal_those_of_numpy_byte_for_byte(data):
    size = data.draw(st.sampled_from([64, 100, 128, 256]))
    count = data.draw(st.integers(1, 60))
    vocabulary = Vocabulary([f"condition {i}" for i in range(count)])
    names, types, boxes, wanted = [], [], [], []
    width = data.draw(st.integers(0, 4))
    for _ in range(data.draw(st.integers(1, 3))):
        names.append(data.draw(st.sampled_from(vocabulary.conditions)))
        types.append(data.draw(st.integers(0, 6)))
        real = data.draw(st.lists(float32_boxes(size), max_size=width))
        padding = [[0.0] * 4] * (width - len(real))
        boxes.append(data.draw(st.permutations(real + padding)))
        # NumPy gets the float32 numbers, widened.
        rois = [
            Roi([float(v) for v in box], names[-1]) for box in boxes[-1] if any(box)
        ]
        wanted.append(encode_semantic_map(size, types[-1], rois, vocabulary))
    painted = encode_semantic_maps(
        tf.constant(names),
        tf.constant(types),
        tf.constant(np.array(boxes, np.float32).reshape(len(names), width, 4)),
        size,
        vocabulary,
    )
    np.testing.assert_array_equal(painted, wanted)


@pytest.mark.parametrize("size", [64, 100, 512])
def test_float64_boxes_paint_the_same_after_rounding_to_float32(size):
    # Rounding to float32 moves a side by at most 2⁻²⁵, which changes a map only where
    # it crosses a pixel border. Fractions that people write do not lie that close.
    fractions = [i / n for n in (3, 7, 10, 64, 100, 999) for i in range(1, n)]
    rng = np.random.default_rng(0)
    sides = np.sort(rng.choice(fractions, (100, 2, 2)), axis=1).reshape(100, 4)
    boxes = [b for b in sides.tolist() if b[0] < b[2] and b[1] < b[3]]
    vocabulary = Vocabulary(["a"])
    painted = encode_semantic_maps(
        tf.fill([len(boxes)], "a"),
        tf.ones([len(boxes)], tf.int32),
        tf.constant(boxes, tf.float32)[:, tf.newaxis],
        size,
        vocabulary,
    ).numpy()
    for box, semantic_map in zip(boxes, painted, strict=True):
        wanted = encode_semantic_map(size, 1, [Roi(box, "a")], vocabulary)
        np.testing.assert_array_equal(semantic_map, wanted, str(box))


# --- PNG texts ---------------------------------------------------------------------


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.binary(max_size=70), max_size=5))
def test_crc32_equals_zlib(values):
    found = crc32(tf.constant(values, tf.string, shape=[len(values)])).numpy()
    assert found.tolist() == [zlib.crc32(value) for value in values]


def test_png_texts_are_read_back_and_pixels_are_untouched():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    each = {"name": tf.constant(["", "ß", "長い" * 50])}
    files = encode_png_with_text(images, {"all": "of them"}, each).numpy()
    for image, file, name in zip(images, files, ["", "ß", "長い" * 50], strict=True):
        assert read_png_text(file) == {"all": "of them", "name": name}
        np.testing.assert_array_equal(tf.io.decode_png(file), image)


# --- writing -----------------------------------------------------------------------


def test_an_occupied_folder_is_replaced_only_when_asked(generator, exported, tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_saved_model(generator, VOCABULARY, path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["model", "mine.txt"]
    export_saved_model(generator, VOCABULARY, path, overwrite=True)
    assert (path / "saved_model.pb").exists() and not (path / "mine.txt").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_failed_export_leaves_nothing(generator, tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(OSError, match=f"No space left.*{tmp_path / 'model'}'$"):
        export_saved_model(generator, VOCABULARY, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_provenance_must_be_json(generator, tmp_path):
    with pytest.raises(InputError, match="provenance cannot be written as JSON"):
        export_saved_model(generator, VOCABULARY, tmp_path / "m", {"model": object()})


def test_the_fingerprint_is_of_the_weights(generator):
    same, other = make_generator(seed=0), make_generator(seed=1)
    assert weights_fingerprint(same) == weights_fingerprint(generator)
    assert weights_fingerprint(other) != weights_fingerprint(generator)
    weight = same.weights[-1]
    weight.assign(keras.ops.convert_to_numpy(weight) + 1e-7)
    assert weights_fingerprint(same) != weights_fingerprint(generator)


# --- what training left ------------------------------------------------------------


def write_model_dir(path, **changes):
    path.mkdir()
    model = {"image_size": SIZE, "base_filters": 4, "upsampling": "resize_conv"}
    model |= {"conditions": list(VOCABULARY), "seed": 3, "data_fingerprint": "abc"}
    (path / "model.json").write_text(json.dumps(model | changes))
    return path


def test_averaged_weights_are_preferred(tmp_path):
    folder = write_model_dir(tmp_path / "run")
    last, average = make_generator(1), make_generator(2)
    last.save_weights(folder / "generator.weights.h5")
    loaded, vocabulary, provenance = load_trained_generator(folder)
    assert weights_fingerprint(loaded) == weights_fingerprint(last)
    assert vocabulary == VOCABULARY
    assert provenance == {
        "image_size": SIZE,
        "base_filters": 4,
        "upsampling": "resize_conv",
        "seed": 3,
        "data_fingerprint": "abc",
        "weights": "generator.weights.h5",
    }
    average.save_weights(folder / "generator_ema.weights.h5")
    loaded, _, provenance = load_trained_generator(folder)
    assert weights_fingerprint(loaded) == weights_fingerprint(average)
    assert provenance["weights"] == "generator_ema.weights.h5"
    loaded, _, _ = load_trained_generator(folder, use_ema=False)
    assert weights_fingerprint(loaded) == weights_fingerprint(last)


def no_weights(folder):
    pass


def other_weights(folder):
    build_generator(SIZE, base_filters=8).save_weights(folder / "generator.weights.h5")


def torn_weights(folder):
    build_generator(SIZE, base_filters=4).save_weights(folder / "generator.weights.h5")
    data = (folder / "generator.weights.h5").read_bytes()
    (folder / "generator.weights.h5").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("changes", "prepare", "message"),
    [
        ({}, no_weights, "has no generator_ema.weights.h5 or generator.weights.h5"),
        ({}, other_weights, "generator.weights.h5 does not fit .*base_filters 4"),
        ({}, torn_weights, "generator.weights.h5 does not fit|is damaged"),
        ({"image_size": 128}, other_weights, "does not fit .*image_size 128"),
        (
            {"image_size": 63},
            other_weights,
            "model.json: no generator has image_size 63",
        ),
        ({"conditions": None}, other_weights, "model.json is damaged: it has no list"),
        ({"conditions": ["a", "a"]}, other_weights, "model.json: condition 'a' stands"),
        ({"conditions": [1]}, other_weights, "model.json: not a condition name: 1"),
    ],
)
def test_a_model_folder_that_does_not_fit_is_one_line(
    tmp_path, changes, prepare, message
):
    folder = write_model_dir(tmp_path / "run", **changes)
    prepare(folder)
    with pytest.raises(InputError, match=message) as error:
        load_trained_generator(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a model folder: it has no model.json"),
        ("", "model.json is damaged"),
        ("[]", "model.json is damaged: want an object"),
        ('{"image_size"', "model.json is damaged"),
    ],
)
def test_what_is_no_model_folder_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_trained_generator(tmp_path)
