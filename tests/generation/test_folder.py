"""Folders that `generate` wrote, as images to train on; what is refused in them."""

import json
import shutil

import numpy as np
import pytest

from dermgan_tf.classifier.labelled_reading import read_labelled_splits, read_synthetic
from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import write_images
from dermgan_tf.generation.plan import ImageSpec
from dermgan_tf.photos.photo_io import encode_jpeg, read_photo
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.numbered_pictures import picture, png

CONDITIONS = ("eczema", "melanoma")


class Painter:
    """Paints as `dermgan_tf.models.dermgan.served.SavedGenerator` does, without a
    network."""

    image_size, vocabulary = 32, Vocabulary((*CONDITIONS, "healthy skin"))

    def __init__(self, fingerprint="f" * 64):
        self.fingerprint = fingerprint

    def paint(self, maps, seeds):
        return np.stack([picture(seed, 32, 32) for seed in seeds])

    def provenance(self, **texts):
        return {"synthetic": "true", "generator": self.fingerprint, **texts}


BOX = ((0.2, 0.2, 0.6, 0.6),)


def generate(folder, specs=None, run=True):
    folder.mkdir(parents=True)
    specs = specs or [ImageSpec(CONDITIONS[i % 2], i % 7, BOX, i) for i in range(8)]
    write_images(Painter(), specs, folder)
    if run:
        record = {"flags": {"generator": "f" * 64}, "data_fingerprint": "d" * 64}
        (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_synthetic_images_come_with_their_labels_and_their_generator(tmp_path):
    folder = generate(tmp_path / "a")
    images, generator, data = read_synthetic(folder, 16, ["acne", *CONDITIONS])
    assert (generator, data) == ("f" * 64, "d" * 64)
    assert isinstance(images.images, np.memmap) and images.cases is None
    assert images.conditions == ("acne", *CONDITIONS)
    assert images.labels.tolist() == [1, 2] * 4
    assert images.skin_types.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert images.image_ids[3] == "images/000003.png"
    means = picture(3, 32, 32).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert abs(images.images[3] - means).max() <= 0.51
    again, *_ = read_synthetic(folder, 16, ["acne", *CONDITIONS], threads=1)
    assert again.fingerprint == images.fingerprint
    full, *_ = read_synthetic(folder, 32, CONDITIONS)
    np.testing.assert_array_equal(
        full.images[5], read_photo(folder / "images" / "000005.png")
    )
    some = images.take([5, 1])
    assert some.cases is None and some.labels.tolist() == [2, 2]
    assert (
        read_synthetic(generate(tmp_path / "b", run=False), 16, CONDITIONS)[2] is None
    )


def test_healthy_skin_is_painted_without_a_box(tmp_path):
    specs = [ImageSpec("eczema", 2, BOX, 1), ImageSpec("healthy skin", 3, (), 2)]
    folder = generate(tmp_path / "a", specs)
    images, *_ = read_synthetic(folder, 16, ["eczema", "healthy skin"])
    assert images.labels.tolist() == [0, 1]


def planted(folder, image=None, line=None, run=None):
    """Puts another image, line or run.json in the place of the right ones."""
    if image is not None:
        (folder / "images" / "000002.png").write_bytes(image)
    if line is not None:
        path = folder / "generated.jsonl"
        lines = path.read_text().splitlines()
        lines[2] = json.dumps(json.loads(lines[2]) | line) if line else "{"
        path.write_text("\n".join(lines))
    if run is not None:
        (folder / "run.json").write_text(run)


def told(**more):
    return png(2, {"synthetic": "true", "generator": "f" * 64} | more)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ({"image": png(2)}, r"000002.png: does not say synthetic=true"),
        ({"image": encode_jpeg(picture(2))}, "does not say synthetic=true"),
        ({"image": told(generator="e" * 64, condition="eczema")}, "says generator"),
        ({"image": told(condition="melanoma")}, "says condition 'melanoma', but"),
        ({"image": told(condition="eczema")[:300]}, r"000002.png: is a damaged PNG"),
        ({"line": {"condition": "acne"}}, "'acne', which the classifier does not"),
        ({"line": {"generator": "e" * 64}}, "of 2 generators, eeeeeeee and ffffffff"),
        ({"line": {"boxes": []}}, "000002.png was painted without a box"),
        ({"line": {"source": "real"}}, "the source 'real', not synthetic"),
        ({"line": {"image": "images/../../x.png"}}, "not in the folder images"),
        ({"line": {"image": "images/9.png"}}, "9.png: does not exist"),
        ({"line": {"fitzpatrick": 7}}, "unknown skin type 7"),
        (
            {"line": {"image": "images/000001.png"}},
            "000001.png' stands twice|says cond",
        ),
        ({"line": {}}, "generated.jsonl:3: is damaged"),
        ({"run": "{"}, "run.json is damaged"),
        (
            {"run": '{"flags": {"generator": "e"}, "data_fingerprint": "d"}'},
            "put together from two",
        ),
    ],
)
def test_synthetic_folders_that_do_not_tell_the_truth_are_refused(
    tmp_path, plant, message
):
    folder = generate(tmp_path / "a")
    planted(folder, **plant)
    with pytest.raises(InputError, match=message):
        read_synthetic(folder, 16, CONDITIONS)


def test_folders_that_generate_did_not_write_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no generated.jsonl"):
        read_synthetic(tmp_path, 16, CONDITIONS)
    (tmp_path / "generated.jsonl").write_text("")
    with pytest.raises(InputError, match="lists no image"):
        read_synthetic(tmp_path, 16, CONDITIONS)
    # Nor may they be taken for photographs by putting them into class folders.
    folder = generate(tmp_path / "a")
    for condition in CONDITIONS:
        shutil.copytree(folder / "images", tmp_path / "classes" / condition)
    with pytest.raises(InputError, match="is a synthetic image"):
        read_labelled_splits(tmp_path / "classes", 16)
