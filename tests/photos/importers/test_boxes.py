import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.importers.boxes import (
    fitted_box,
    points_box,
    run_lengths,
    runs_box,
    union,
)
from dermgan_tf.photos.importers.coco import annotation_box, import_coco
from dermgan_tf.photos.importers.voc import import_voc
from dermgan_tf.photos.importers.yolo import import_yolo, row_box
from dermgan_tf.photos.semantic_map import box_pixels


def test_boxes_inside_are_normalised():
    assert fitted_box((10, 20, 30, 60), 40, 80) == ((0.25, 0.25, 0.75, 0.75), False)
    assert fitted_box((0, 0, 40, 80), 40, 80) == ((0, 0, 1, 1), False)
    # Six decimals in a file are no reason to say that something was cut off.
    assert fitted_box((-1e-7, 0, 1 + 1e-7, 1), 1, 1) == ((0, 0, 1, 1), False)


def test_boxes_over_the_edge_are_cut_and_boxes_elsewhere_refused():
    assert fitted_box((-10, 0, 30, 40), 40, 40) == ((0, 0, 0.75, 1), True)
    assert fitted_box((0, -20, 40, 20), 40, 40) == ((0, 0, 1, 0.5), True)  # just half
    for box, words in [
        ((0, -21, 40, 20), "mostly outside the image of 40 × 40"),
        ((-30, -30, 30, 30), "mostly outside"),  # a quarter is inside
        ((50, 50, 60, 60), "wholly outside"),
        ((10, 10, 10, 20), "no area"),
        ((20, 10, 10, 20), "no area"),
        ((10, 10, 20, math.nan), "not finite"),
        ((10, 10, 20, math.inf), "not finite"),
        ((-1e308, -1e308, 1e308, 1e308), "outside"),
    ]:
        with pytest.raises(InputError, match=words):
            fitted_box(box, 40, 40)


def test_outlines_become_the_box_around_them():
    assert points_box([3, 4, 10, 2, 5, 9.5]) == (2, 3, 9.5, 10)
    assert union([(1, 5, 2, 6), (0, 7, 1, 9)]) == (0, 5, 2, 9)
    for points in ([], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, "6"]):
        with pytest.raises(InputError, match="three or more points"):
            points_box(points)


# What pycocotools 2.0.11 writes and finds: size, counts, box around the mask.
@pytest.mark.parametrize(
    ("size", "counts", "box"),
    [
        ((8, 8), "a035000g0", (1, 2, 4, 5)),
        ((8, 8), "d0440d0M_O", (0, 2, 8, 8)),
        ((8, 8), "V1150N010001", (0, 4, 7, 8)),
        ((5, 9), "a0320=NE", (0, 3, 5, 9)),
        ((40, 64), "lj0d0d00\\a1]OW_N", (0, 21, 40, 64)),
        ((64, 48), "Q43m1000oe2", (1, 2, 4, 5)),
        ((64, 48), "PQ1P1P10Pi1QOoWN", (0, 16, 64, 48)),
    ],
)
def test_compressed_masks_as_the_reference_writes_them(size, counts, box):
    assert runs_box(run_lengths(counts), *size) == box


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_run_lengths_give_the_box_around_the_pixels(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    pixels = data.draw(
        st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    )
    mask = np.array(pixels).reshape(width, height).T  # column by column
    runs, value = [0], False
    for pixel in pixels:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    if not mask.any():
        with pytest.raises(InputError, match="empty"):
            runs_box(runs, height, width)
        return
    rows, columns = np.nonzero(mask)
    assert runs_box(runs, height, width) == (
        rows.min(),
        columns.min(),
        rows.max() + 1,
        columns.max() + 1,
    )


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_damaged_run_lengths_are_refused_not_followed(counts):
    with contextlib.suppress(InputError):
        assert len(runs_box(run_lengths(counts), 64, 64)) == 4


def test_masks_of_a_false_size_are_refused():
    for counts, words in [
        ([10, 5], "fill 15 pixels"),
        ([-1, 65], "whole numbers"),
        ([0.5, 63.5], "whole numbers"),
        ("a035000", "fill"),
        ("a0350P", "end too early"),
        ("é", "not compressed"),
        (None, "neither a list nor text"),
    ]:
        with pytest.raises(InputError, match=words):
            runs_box(run_lengths(counts), 8, 8)
    # No pixel of a mask of 10¹² pixels is painted.
    assert runs_box([0, 10**12], 10**6, 10**6) == (0, 0, 10**6, 10**6)


def test_boxes_of_coco():
    assert annotation_box({"bbox": [10, 20, 30, 40]})[0] == (20, 10, 60, 40)
    outline = {"segmentation": [[1, 2, 5, 2, 5, 9], [8, 1, 9, 1, 9, 3]]}
    assert annotation_box(outline) == ((1, 1, 9, 9), None)
    assert annotation_box({"bbox": [0, 0, 0, 0], **outline})[0] == (1, 1, 9, 9)
    assert annotation_box({"segmentation": [1, 2, 5, 2, 5, 9]})[0] == (2, 1, 9, 5)
    mask = {"counts": [9, 2, 53], "size": [8, 8]}
    assert annotation_box({"segmentation": mask}) == ((1, 1, 3, 2), (8, 8))
    for annotation, words in [
        ({}, "neither bbox nor segmentation"),
        ({"bbox": [1, 2, 3]}, r"not \[x, y, width, height\]"),
        ({"bbox": [1, 2, 0, 5], "segmentation": []}, "no area"),
        ({"bbox": [1, 2, float("nan"), 5]}, "is not"),
        ({"segmentation": {"counts": [64], "size": [8]}}, "size"),
        ({"segmentation": ["x"]}, "neither polygons nor a mask"),
        ({"segmentation": [[1, 2, 3]]}, "three or more points"),
    ]:
        with pytest.raises(InputError, match=words):
            annotation_box(annotation)


def test_lines_of_yolo():
    assert row_box([0.5, 0.25, 0.5, 0.5]) == (0, 0.25, 0.5, 0.75)
    assert row_box([0.5, 0.25, 0.5, 0.5, 0.9]) == (0, 0.25, 0.5, 0.75)  # confidence
    assert row_box([0.1, 0.2, 0.5, 0.2, 0.5, 0.9]) == (0.2, 0.1, 0.9, 0.5)
    keypoints = [0.5, 0.25, 0.5, 0.5, 0.1, 0.1, 2, 0.2, 0.2, 0]
    assert row_box(keypoints, with_keypoints=True) == (0, 0.25, 0.5, 0.75)
    for numbers in ([], [0.5], [0.5] * 3, [0.5] * 7, [0.5, 0.5, 0, 0.1], [0, 0, -1, 1]):
        with pytest.raises(InputError, match="numbers after the class|no area"):
            row_box(numbers)


@pytest.fixture(scope="module")
def photo_of_size(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")

    def make(height, width):
        path = folder / f"{height}x{width}.png"
        if not path.exists():
            Image.new("RGB", (width, height), (209, 158, 122)).save(path)
        return path

    return make


def write_coco(folder, photo, height, width, box):
    top, left, bottom, right = box
    content = {
        "images": [{"id": 1, "file_name": photo, "height": height, "width": width}],
        "categories": [{"id": 3, "name": "wound"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 3,
                "bbox": [left, top, right - left, bottom - top],
            }
        ],
    }
    (folder / "result.json").write_text(json.dumps(content))


def write_voc(folder, photo, height, width, box, first_pixel=0):
    top, left, bottom, right = box
    (folder / "a.xml").write_text(
        f"<annotation><filename>{photo}</filename><size><width>{width}</width>"
        f"<height>{height}</height><depth>3</depth></size><object><name>wound</name>"
        f"<bndbox><xmin>{left + first_pixel}</xmin><ymin>{top + first_pixel}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object></annotation>"
    )


def write_yolo(folder, photo, height, width, box):
    top, left, bottom, right = box
    (folder / "classes.txt").write_text("wound\n")
    (folder / photo).with_suffix(".txt").write_text(
        f"0 {(left + right) / 2 / width:.6f} {(top + bottom) / 2 / height:.6f} "
        f"{(right - left) / width:.6f} {(bottom - top) / height:.6f}\n"
    )


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_box_comes_back_equal_from_every_box_format(
    data, photo_of_size, tmp_path_factory
):
    height = data.draw(st.sampled_from([16, 33, 64]))
    width = data.draw(st.sampled_from([16, 47, 64]))
    top = data.draw(st.integers(0, height - 1))
    left = data.draw(st.integers(0, width - 1))
    bottom = data.draw(st.integers(top + 1, height))
    right = data.draw(st.integers(left + 1, width))
    box = (top, left, bottom, right)
    for write, read in [
        (write_coco, import_coco),
        (write_voc, import_voc),
        (
            lambda *a: write_voc(*a, first_pixel=1),
            lambda folder: import_voc(folder, first_pixel=1),
        ),
        (write_yolo, import_yolo),
    ]:
        folder = tmp_path_factory.mktemp("data")
        photo = photo_of_size(height, width)
        (folder / photo.name).symlink_to(photo)
        write(folder, photo.name, height, width, box)
        annotations, rejects, _ = read(folder)
        assert rejects == []
        (roi,) = annotations[0].rois
        exact = (top / height, left / width, bottom / height, right / width)
        assert roi.box == pytest.approx(exact, abs=1.01e-6)
        if write is not write_yolo:  # whose six decimals can touch the next pixel
            assert box_pixels(roi.box, height, width) == box
