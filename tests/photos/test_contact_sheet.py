import numpy as np

from dermgan_tf.photos.contact_sheet import contact_sheet


def flat(colour, height=64, width=64):
    return np.full((height, width, 3), colour, np.uint8)


def test_cells_keep_their_order_and_colours():
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    sheet = contact_sheet(
        [[flat(red), flat(green)], [flat(blue)]],
        ["first", "second"],
        ["a", "b"],
        "title",
    )
    assert sheet.dtype == np.uint8
    centres = []
    for colour in (red, green, blue):
        rows, columns = np.nonzero((sheet == colour).all(axis=-1))
        assert rows.size == 96 * 96
        centres.append((rows.mean(), columns.mean()))
    (r0, c0), (r1, c1), (r2, c2) = centres
    assert r0 == r1 < r2 and c0 == c2 < c1


def test_labels_are_drawn():
    plain = contact_sheet([[flat((9, 9, 9))]])
    labelled = contact_sheet([[flat((9, 9, 9))]], ["row"], ["column"], "title")
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1]
    assert (labelled[:20] < 100).any()


def test_shapes_and_grey_images():
    sheet = contact_sheet([[flat((1, 2, 3), 10, 200), np.zeros((5, 5), np.uint8)], []])
    assert sheet.shape[2] == 3
    assert contact_sheet([]).size
