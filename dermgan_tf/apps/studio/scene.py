"""What the drawing page asks for, in one form of text everywhere.

The fields stand in the page's own address, in the forms that it sends, and in the
addresses of pictures: condition, fitzpatrick, boxes (as `generate --boxes` has them)
and seed; for several pictures also series and variants.
"""

import dataclasses
import urllib.parse
from collections.abc import Iterable, Mapping

from dermgan_tf.errors import InputError
from dermgan_tf.generation.plan import (
    Box,
    ImageSpec,
    Sweep,
    parse_boxes,
    plan_sweep,
    varied_specs,
)
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.photos.vocabulary import Vocabulary

MAX_BOXES = 16
MAX_VARIANTS = 16
SWEEPS = ("skin_color", "size")
SERIES = ("variants", *SWEEPS)
MAP_FIELDS = ("condition", "fitzpatrick", "boxes")
SPEC_FIELDS = (*MAP_FIELDS, "seed")
SCENE_FIELDS = (*SPEC_FIELDS, "series", "variants")
_MAX_TEXT = 2000  # characters of a field; sixteen boxes take a third of it


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture, and the series that is shown below it.

    Args:
        picture: what is drawn.
        series: the pictures of the series, in their order; at least one.
        labels: a text for each of them: what is its own.
        sweep: the sweep that the series is; None for variants, which differ by seed.
    """

    picture: ImageSpec
    series: tuple[ImageSpec, ...]
    labels: tuple[str, ...]
    sweep: Sweep | None


def read_scene(fields: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> Scene:
    """Reads a scene from a form's or an address's fields, all of them required.

    Raises:
        InputError: for fields that are missing, repeated, unknown or too long, values
            of another kind or out of range, too many boxes, or a sweep of nothing.
    """
    values = _values(fields, SCENE_FIELDS)
    series = values["series"]
    if series not in SERIES:
        raise InputError(f"unknown series {series!r}; known: {', '.join(SERIES)}")
    count = _whole(values, "variants")
    if not 1 <= count <= MAX_VARIANTS:
        raise InputError(f"variants={count}; valid: 1…{MAX_VARIANTS}")
    if series in SWEEPS:
        (picture,) = _specs(values, 1, vocabulary)
        skin_type = None if series == "skin_color" else picture.fitzpatrick
        given = (picture.seed, picture.condition, skin_type, picture.boxes)
        sweep = plan_sweep(series, vocabulary, *given)
        return Scene(picture, tuple(sweep.image_specs()), sweep.column_labels, sweep)
    specs = _specs(values, count, vocabulary)
    labels = tuple(f"seed {spec.seed}" for spec in specs)
    return Scene(specs[0], specs, labels, None)


def read_spec(fields: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> ImageSpec:
    """Reads one picture's fields; raises InputError as `read_scene` does."""
    return _specs(_values(fields, SPEC_FIELDS), 1, vocabulary)[0]


def read_map_spec(
    fields: Iterable[tuple[str, str]], vocabulary: Vocabulary
) -> ImageSpec:
    """As `read_spec`, for what has no seed; the spec's is 0."""
    values = _values(fields, MAP_FIELDS)
    return _specs(values | {"seed": "0"}, 1, vocabulary)[0]


def address_fields(spec: ImageSpec, names: Iterable[str] = SPEC_FIELDS) -> str:
    """The fields of a picture as an address has them, to be read back."""
    fields = {**dataclasses.asdict(spec), "boxes": boxes_text(spec.boxes)}
    own = {name: fields[name] for name in names}
    return urllib.parse.urlencode(own, safe=",;/", quote_via=urllib.parse.quote)


def boxes_text(boxes: Iterable[Box]) -> str:
    """Boxes as `parse_boxes` reads them back, to the last bit."""
    return ";".join(",".join(map(repr, box)) for box in boxes) or "none"


def file_name(spec: ImageSpec) -> str:
    """A name for a picture's file, of ASCII letters, digits, "_", "-" and "."."""
    condition = "".join(
        c if c.isascii() and c.isalnum() else "-" for c in spec.condition
    )
    skin_type = SKIN_TYPE_NAMES[spec.fitzpatrick]
    return f"synthetic_{condition[:40]}_type-{skin_type}_seed-{spec.seed}"


def _specs(
    values: Mapping[str, str], count: int, vocabulary: Vocabulary
) -> tuple[ImageSpec, ...]:
    boxes = parse_boxes(values["boxes"])
    if len(boxes) > MAX_BOXES:
        raise InputError(f"{len(boxes)} boxes; at most {MAX_BOXES} are painted")
    seed, skin_type = _whole(values, "seed"), _whole(values, "fitzpatrick")
    return tuple(
        varied_specs(vocabulary, count, seed, values["condition"], skin_type, boxes)
    )


def _values(
    fields: Iterable[tuple[str, str]], wanted: tuple[str, ...]
) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in fields:
        if name not in wanted:
            known = ", ".join(wanted)
            raise InputError(f"unknown field {name[:40]!r}; known: {known}")
        if name in values:
            raise InputError(f"the field {name} comes twice")
        if len(value) > _MAX_TEXT:
            raise InputError(f"the field {name} has {len(value)} characters")
        values[name] = value
    missing = [name for name in wanted if name not in values]
    if missing:
        raise InputError(f"the field {missing[0]} is missing")
    return values


def _whole(values: Mapping[str, str], name: str) -> int:
    text = values[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise InputError(f"{name}={text!r} is not a whole number")
    return int(text)
