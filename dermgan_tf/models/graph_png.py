"""PNG files with texts inside, made by TensorFlow operations alone.

`tf.io.encode_png` writes pixels only, but a synthetic image has to say in its file that
it is one, and a served model has no other code to say it. So the texts are laid out and
their checksums computed in the graph.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

# Signature (8 bytes) and IHDR chunk (25): texts may stand anywhere after them.
_HEADER_BYTES = 33
# The reflected polynomial of CRC-32 (PNG specification, annex D).
_CRC_POLYNOMIAL = 0xEDB88320


def encode_png_with_text(
    images: tf.Tensor, constant: Mapping[str, str], each: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Encodes a batch of images as PNG with texts.

    Args:
        images: uint8 [N, H, W, 3], RGB.
        constant: keyword -> text that all files get.
        each: keyword -> string [N], UTF-8: the text of each file.

    Returns:
        string [N]: the files' bytes.
    """
    files = tf.io.encode_png(images)
    count = tf.shape(files)[0]
    texts = {key: tf.fill([count], text) for key, text in constant.items()}
    texts.update(each)
    chunks = tf.strings.reduce_join(_text_chunks(texts), axis=0)
    header = tf.strings.substr(files, 0, _HEADER_BYTES)
    # substr takes no "to the end"; no file is longer than int32 can tell.
    rest = tf.strings.substr(files, _HEADER_BYTES, 2**31 - 1)
    return tf.strings.join([header, chunks, rest])


def _text_chunks(texts: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """string [keywords, N]: each text as an iTXt chunk (UTF-8, uncompressed)."""
    bodies = tf.stack(
        [
            # keyword, 0, not compressed, method 0, no language, no translated keyword
            tf.strings.join([f"{key}\0\0\0\0\0", text])
            for key, text in texts.items()
        ]
    )
    length = _big_endian(tf.cast(tf.strings.length(bodies), tf.int64))
    typed = tf.strings.join(["iTXt", bodies])
    return tf.strings.join([length, typed, _big_endian(crc32(typed))])


def crc32(data: tf.Tensor) -> tf.Tensor:
    """The CRC-32 of byte strings, as PNG and zlib define it.

    Args:
        data: string, any shape.

    Returns:
        int64, the same shape, 0…2³² − 1.
    """
    flat = tf.reshape(data, [-1])
    lengths = tf.strings.length(flat)
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    # Padded with zeros to one length; a byte past a string's end leaves its sum alone.
    padded = tf.io.decode_raw(flat, tf.uint8, fixed_length=tf.maximum(longest, 1))
    columns = tf.transpose(tf.cast(padded, tf.int64))  # [longest, strings]
    table = tf.constant(_crc_table())

    def add_byte(i, state):
        entry = tf.gather(table, tf.bitwise.bitwise_and(state ^ columns[i], 0xFF))
        added = entry ^ tf.bitwise.right_shift(state, 8)
        return i + 1, tf.where(i < lengths, added, state)

    _, state = tf.while_loop(
        lambda i, _: i < longest,
        add_byte,
        (0, tf.fill(tf.shape(flat), tf.constant(0xFFFFFFFF, tf.int64))),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.reshape(state ^ 0xFFFFFFFF, tf.shape(data))


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, _CRC_POLYNOMIAL ^ (table >> 1), table >> 1)
    return table


def _big_endian(number: tf.Tensor) -> tf.Tensor:
    """int64 -> string: its lowest four bytes, the highest of them first."""
    single_bytes = tf.constant([bytes([i]) for i in range(256)])
    return tf.strings.join(
        [
            tf.gather(
                single_bytes,
                tf.bitwise.bitwise_and(tf.bitwise.right_shift(number, shift), 0xFF),
            )
            for shift in (24, 16, 8, 0)
        ]
    )
