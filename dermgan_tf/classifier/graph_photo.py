"""Photographs read inside a TensorFlow graph, as `photo_io` reads them outside.

For SavedModels that take files as they come from a camera.
"""

import tensorflow as tf

_EXIF_HEAD = 65_536  # bytes; EXIF comes before the pixels, in one segment of at most so


def decode_photo(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG file and turns it as its EXIF orientation says.

    Args:
        encoded: string, scalar.

    Returns:
        uint8 [H, W, 3], upright.
    """
    # The accurate transform is the one that Pillow uses.
    is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    pixels = tf.cond(
        is_jpeg,
        lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(encoded, 3),
    )
    return _turned(
        pixels, tf.cond(is_jpeg, lambda: exif_orientation(encoded), _upright)
    )


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The orientation 1…8 that a JPEG file declares; 1 where it declares none.

    EXIF 2.3: a segment APP1 that begins with "Exif", two zeros and a TIFF header, which
    points at a list of entries of 12 bytes; tag 274 is the orientation.

    Args:
        encoded: string, scalar. A JPEG file.

    Returns:
        int32, scalar.
    """
    head = tf.strings.substr(encoded, 0, _EXIF_HEAD)
    # What is read beyond the end is zeros, which mean nothing.
    data = tf.concat(
        [tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int32), tf.zeros([4], tf.int32)],
        0,
    )
    last = tf.size(data) - 4

    def number(place, count, little):
        place = tf.clip_by_value(place, 0, last)
        digits = data[place : place + count]
        return tf.reduce_sum(
            tf.where(little, digits, digits[::-1]) * 256 ** tf.range(count)
        )

    def is_other_segment(place):
        # A marker FF En of an application that is not EXIF, or a comment.
        marker = number(place, 2, False)
        exif = (marker == 0xFFE1) & (number(place + 4, 4, False) == 0x45786966)
        kept = ((marker >= 0xFFE0) & (marker <= 0xFFEF)) | (marker == 0xFFFE)
        return kept & ~exif & (place < last)

    (segment,) = tf.while_loop(
        is_other_segment,
        lambda place: [place + 2 + tf.maximum(number(place + 2, 2, False), 2)],
        [tf.constant(2)],
    )
    is_exif = (number(segment, 2, False) == 0xFFE1) & (
        number(segment + 4, 4, False) == 0x45786966
    )
    tiff = segment + 10
    little = number(tiff, 2, False) == 0x4949
    entries = tiff + tf.clip_by_value(number(tiff + 4, 4, little), 0, _EXIF_HEAD)
    count = tf.minimum(number(entries, 2, little), 200)

    def is_other_entry(index):
        tag = number(entries + 2 + 12 * index, 2, little)
        return (index < count) & (tag != 274)

    (index,) = tf.while_loop(
        is_other_entry, lambda index: [index + 1], [tf.constant(0)]
    )
    value = number(entries + 2 + 12 * index + 8, 2, little)
    known = is_exif & (index < count) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)


def squash_photo(photo: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes a photo to a square as `labelled_reading` does: averaged, then linear.

    Args:
        photo: uint8 [H, W, 3].
        size: int. Rows and columns.

    Returns:
        uint8 [size, size, 3], within a level of OpenCV's.
    """
    shape = tf.shape(photo)[:2]
    shrunk = tf.image.resize(photo, tf.minimum(shape, size), method="area")
    shrunk = tf.round(shrunk)  # there each resizing gives whole levels
    squashed = tf.image.resize(shrunk, [size, size], method="bilinear")
    return tf.cast(tf.clip_by_value(tf.round(squashed), 0, 255), tf.uint8)


def _upright():
    return tf.constant(1)


def _turned(pixels, orientation):
    """Undoes the turn that EXIF orientation 1…8 declares (EXIF 2.3, tag 274)."""
    pixels = tf.cond(
        orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels
    )
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    pixels = tf.cond(mirrored, lambda: pixels[:, ::-1], lambda: pixels)
    upturned = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(upturned, lambda: pixels[::-1], lambda: pixels)
