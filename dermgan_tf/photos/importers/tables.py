"""Text, tables and JSON as data sets publish them, and as other programs save them."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE
from dermgan_tf.photos.vocabulary import composed

# How tables say that they do not know, in lower case: by hand, and as pandas, R, Excel
# and SQL write what is missing.
# fmt: off
UNKNOWN = frozenset((
    "", "-", "--", "?", "na", "n/a", "n.a.", "#n/a", "nan", "<na>", "none", "null",
    "nil", "unk", "unknown", "missing", "not available", "not known", "undefined",
))
# fmt: on

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_JSON_LINES = (".jsonl", ".ndjson")
# How files begin that are often called .csv or .json without being text.
_NOT_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PAR1": "Parquet: save it as CSV",
    b"SQLite format 3": "an SQLite database",
}
# A whole character of several bytes in UTF-8 (RFC 3629).
_UTF_8_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_ROUNDED = re.compile(r"[-+]?\d(\.\d+)?[eE]\+\d+")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table's rows, and how it was read.

    Args:
        path: the file.
        columns: names in the header.
        rows: (line, row): the number of the row's last line, and column -> value.
            Values are stripped and composed (NFC); "" stands for all that is UNKNOWN.
        rejects: rows that do not fit the header.
        notes: how it was read, where that is not UTF-8 with commas: a text -> 1.
    """

    path: pathlib.Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    rejects: tuple[Reject, ...] = ()
    notes: Counter = dataclasses.field(default_factory=Counter)


def read_table(path: str | os.PathLike, columns: Sequence[str] = ()) -> Table:
    """Reads a table with a header: CSV, or a JSON object per line (.jsonl, .ndjson).

    Cells are separated by commas, semicolons, tabs or bars, whichever finds the columns
    asked for. For the text's encoding see `read_text`.

    Args:
        path: the file.
        columns: the columns that must be there.

    Raises:
        InputError: if the file cannot be read, lacks a column or has it twice, or
            opens a quote that is not closed, naming the line.
    """
    path = pathlib.Path(path)
    text, encoding = _decoded(path)
    if path.suffix.lower() in _JSON_LINES:
        table, separator = _json_lines(path, text), None
    else:
        table, separator = _separated(path, text, columns)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; it has "
            f"{', '.join(filter(None, table.columns)) or 'none'}"
        )
    twice = [column for column in columns if table.columns.count(column) > 1]
    if twice:
        raise InputError(f"{path} has the column {twice[0]} twice")
    if encoding != "UTF-8":
        table.notes[f"tables read as {encoding}"] += 1
    if separator not in (None, ","):
        table.notes[f"tables separated by {_SEPARATORS[separator]}"] += 1
    return table


def read_rows(path: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """(line, cells) of a table's rows, the header too; they may differ in length.

    Raises:
        InputError: see `read_table`.
    """
    text, _ = _decoded(pathlib.Path(path))
    separator = max(_SEPARATORS, key=text.count)
    return list(_records(path, text, separator))


def read_text(path: str | os.PathLike) -> str:
    """A file's text, composed (NFC), whatever program has saved it.

    It is UTF-8 with or without byte order mark, UTF-16, or else Windows-1252, of which
    Latin-1's printable characters are a part.

    Raises:
        InputError: if the file cannot be read, is no regular file, is no text, or mixes
            encodings.
    """
    return _decoded(pathlib.Path(path))[0]


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: if the file cannot be read or is not JSON.
    """
    path = pathlib.Path(path)
    data = _read_bytes(path)
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:  # also bad UTF-8
        raise InputError(f"{path} is not JSON: {error}") from None


def find_table(
    folder: str | os.PathLike,
    names: Sequence[str],
    given: str | None = None,
    hint: str = "name it by annotations_file",
) -> pathlib.Path:
    """The annotation file: the one given, else the first of `names` that is there.

    Args:
        folder: the data set's folder.
        names: file names, looked for in the folder and one level below it.
        given: a path that the user named.
        hint: what to do if there is none.

    Raises:
        InputError: if none is there, or several of one name.
    """
    if given:
        return pathlib.Path(given)
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    for name in names:
        paths = [folder / name, *sorted(folder.glob(f"*/{name}"))]
        paths = [path for path in paths if path.is_file()]
        if len(paths) > 1 and paths[0].parent != folder:
            shown = ", ".join(path.relative_to(folder).as_posix() for path in paths)
            raise InputError(f"{folder} has several tables: {shown}; {hint}")
        if paths:
            return paths[0]
    raise InputError(f"cannot read {folder / names[0]}: no such file; {hint}")


def parse_skin_type(text: str, column: str) -> int:
    """The Fitzpatrick skin type that a table's cell names.

    Args:
        text: str. A number 1…6 (also "2.0"), a Roman one, either with FST or type
            before it; −1, 0 or one of UNKNOWN for an unknown type.
        column: str. For the message.

    Returns:
        int, 0…6; 0 = unknown.

    Raises:
        InputError: naming the text and the valid ones.
    """
    if text.lower() in UNKNOWN:
        return 0
    bare = re.sub(r"^(FITZPATRICK|FST|SKIN|TYPE|[\s_-](?=\D))+", "", text.upper())
    bare = bare.strip(" _").replace(",", ".")  # 3,0 where decimals have commas
    try:
        value = float(_ROMAN.get(bare, bare))
    except ValueError:
        value = 0.5
    if value not in range(-1, MAX_SKIN_TYPE + 1):
        raise InputError(
            f"unknown {column} {text!r}; valid: empty, -1, 0 (unknown), 1…6"
        )
    return max(int(value), 0)


def parse_id(text: str, column: str) -> str:
    """An id as it was before a spreadsheet or pandas made it a number: 17.0 is 17.

    Args:
        text: str.
        column: str. For the message.

    Returns:
        The id; "" for one of UNKNOWN.

    Raises:
        InputError: for 1.23457E+18, of which the last digits are lost.
    """
    if text.lower() in UNKNOWN:
        return ""
    if _ROUNDED.fullmatch(text):
        raise InputError(
            f"{column} {text!r} was rounded by a spreadsheet: its last digits are lost"
        )
    return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text


def links_of_ids(row: dict[str, str], **columns: str) -> tuple[tuple[str, str], ...]:
    """What a row's ids link its photo with; see `joined_cases`.

    Args:
        row: column -> value.
        **columns: kind of id, such as patient -> its column, which may be missing.
    """
    ids = {kind: parse_id(row.get(name, ""), name) for kind, name in columns.items()}
    return tuple((kind, name) for kind, name in ids.items() if name)


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe could be waited for for ever
            raise InputError(f"{path} is not a file")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    for beginning, what in _NOT_TEXT.items():
        if data.startswith(beginning):
            raise InputError(f"{path} is {what}")
    return data


def _decoded(path: pathlib.Path) -> tuple[str, str]:
    """(text, name of its encoding)."""
    data = _read_bytes(path)
    encoding = _encoding(data, path)
    name = {"cp1252": "Windows-1252", "utf-8-sig": "UTF-8"}.get(encoding, "UTF-16")
    try:
        return composed(data.decode(encoding)), name
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not text in UTF-8, UTF-16 or Windows-1252"
        ) from None


def _encoding(data: bytes, path: pathlib.Path) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = data[:1000]
    if b"\0" in head:  # every other byte of Latin letters in UTF-16
        little = head[1::2].count(0) > head[0::2].count(0)
        return "utf-16-le" if little else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if _UTF_8_CHARACTER.search(data):
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path} mixes UTF-8 with another encoding, first on line {line}"
            ) from None
        return "cp1252"
    return "utf-8-sig"


def _separated(
    path: pathlib.Path, text: str, columns: Sequence[str]
) -> tuple[Table, str]:
    first = re.match(r"sep=(.)\r?\n", text)  # Excel's own hint
    skipped = text.count("\n", 0, first.end()) if first else 0
    text = text[first.end() :] if first else text

    def header(separator: str) -> list[str]:
        for _, cells in _records(path, text, separator):
            return [cell.strip() for cell in cells]
        return []

    def finds(separator: str) -> tuple[int, int]:
        try:
            names = header(separator)
        except InputError:
            return 0, 0
        return len(set(columns) & set(names)), len(names)

    separator = max(_SEPARATORS, key=finds)
    names = header(separator)
    while names and not names[-1]:
        names.pop()
    rows, rejects = [], []
    records = _records(path, text, separator)
    next(records, None)
    for line, cells in records:
        line += skipped
        if any(cell.strip() for cell in cells[len(names) :]) or len(cells) < len(names):
            rejects.append(
                Reject(
                    f"{path.name}:{line}",
                    f"has {len(cells)} cells, the header {len(names)}: is a cell with "
                    f"{_SEPARATORS[separator]} not quoted?",
                )
            )
            continue
        rows.append((line, _row(names, cells)))
    return Table(path, tuple(names), tuple(rows), tuple(rejects)), separator


def _records(path: str | os.PathLike, text: str, separator: str):
    """Yields (number of the last line, cells) of every line that is not blank."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    width = 0
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that is not closed takes in all that follows.
            raise InputError(
                f"{path} is not CSV: {error}: see the quotes on line {start}"
            ) from None
        swallowed = [
            number
            for number in range(start + 1, reader.line_num + 1)
            if width > 2
            and lines[number - 1].count(separator) == width - 1
            and not set(cells[0]) & {"\n", "\r"}
        ]
        if swallowed:
            raise InputError(
                f"{path} is not CSV: a quote opened on line {start} takes in line "
                f"{swallowed[0]}"
            )
        if any(cell.strip() for cell in cells):
            width = width or len(cells)
            yield reader.line_num, cells


def _row(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    row: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=False):
        cell = cell.strip()
        if cell.startswith('="') and cell.endswith('"'):  # text, as Excel is told
            cell = cell[2:-1].strip()
        row.setdefault(name, "" if cell.lower() in UNKNOWN else cell)
    return row


def _json_lines(path: pathlib.Path, text: str) -> Table:
    names: dict[str, None] = {}
    rows, rejects = [], []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            rejects.append(Reject(f"{path.name}:{line}", f"is not JSON: {error}"))
            continue
        if not isinstance(record, dict):
            rejects.append(Reject(f"{path.name}:{line}", "is not a JSON object"))
            continue
        record = {name.strip(): _text(value) for name, value in record.items()}
        names.update(dict.fromkeys(record))
        rows.append((line, record))
    rows = [
        (line, _row(tuple(names), [record.get(name, "") for name in names]))
        for line, record in rows
    ]
    return Table(path, tuple(names), tuple(rows), tuple(rejects))


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return composed(value or "")
    return json.dumps(value, ensure_ascii=False)
