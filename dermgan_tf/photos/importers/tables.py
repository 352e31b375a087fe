"""CSV files as data sets publish them, and as spreadsheets save them again."""

import csv
import io
import os
import pathlib
from collections.abc import Sequence

from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}


def read_table(
    path: str | os.PathLike, columns: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """Reads a CSV, or a file separated by tabs, with a header.

    Text is UTF-8 with or without byte order mark, UTF-16 with one, else Latin-1.

    Args:
        path: the file.
        columns: the columns that must be there.

    Returns:
        (line, row) of each row: the number of its (last) line, and column -> value,
        both stripped; "" where a row is too short.

    Raises:
        InputError: if the file cannot be read, or lacks a column.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = "\t" if "\t" in header and "," not in header else ","
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = [name.strip() for name in reader.fieldnames or []]
        missing = [column for column in columns if column not in names]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; it has "
                f"{', '.join(names) or 'none'}"
            )
        reader.fieldnames = names
        return [
            (reader.line_num, {name: (row[name] or "").strip() for name in names})
            for row in reader
        ]
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from None


def read_text(path: str | os.PathLike) -> str:
    """A file's text, whatever program has saved it; see `read_table`.

    Raises:
        InputError: if the file cannot be read, or is no regular file.
    """
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe could be waited for for ever
            raise InputError(f"{path} is not a file")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_skin_type(
    text: str, column: str, unknown: Sequence[str] = ("", "0", "0.0", "-1")
) -> int:
    """The Fitzpatrick skin type that a table's cell names.

    Args:
        text: str. A number 1…6 (also "2.0"), a Roman one, either with FST before it.
        column: str. For the message.
        unknown: texts that stand for an unknown type.

    Returns:
        int, 0…6; 0 = unknown.

    Raises:
        InputError: naming the text and the valid ones.
    """
    if text in unknown:
        return 0
    bare = text.upper().removeprefix("FST").strip()
    try:
        value = float(_ROMAN.get(bare, bare))
    except ValueError:
        value = 0.0
    if value not in range(1, MAX_SKIN_TYPE + 1):
        valid = ", ".join(name or "empty" for name in unknown if name != "0.0")
        raise InputError(f"unknown {column} {text!r}; valid: {valid} (unknown), 1…6")
    return int(value)


def find_table(
    folder: str | os.PathLike, names: Sequence[str], given: str | None = None
) -> pathlib.Path:
    """The annotation file: the one given, else the first of `names` that is there.

    Args:
        folder: the data set's folder.
        names: file names, looked for in the folder and one level below it.
        given: a path that the user named.

    Raises:
        InputError: if none is there.
    """
    if given:
        return pathlib.Path(given)
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    for name in names:
        for path in [folder / name, *sorted(folder.glob(f"*/{name}"))]:
            if path.is_file():
                return path
    raise InputError(
        f"cannot read {folder / names[0]}: no such file; name it by --annotations_file"
    )
