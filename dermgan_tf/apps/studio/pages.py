"""The drawing page: boxes on a map, and what a generator makes of them as one draws.

Nothing is stored, and a picture is a function of its address: it can be opened, saved
and linked, and says in its own PNG text that it is synthetic, as the files of
`generate` do.
"""

import collections
import io
import json
import pathlib
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dermgan_tf.apps.studio.scene import (
    MAP_FIELDS,
    MAX_BOXES,
    MAX_VARIANTS,
    Scene,
    address_fields,
    boxes_text,
    file_name,
    read_map_spec,
    read_scene,
    read_spec,
)
from dermgan_tf.apps.web.forms import read_form
from dermgan_tf.apps.web.pages import page
from dermgan_tf.apps.web.painting_queue import PaintingQueue
from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import paint_specs, write_images, write_sweep
from dermgan_tf.generation.plan import MAX_SEED, SWEEP_BOX, SWEEP_SKIN_TYPE, ImageSpec
from dermgan_tf.models.dermgan.served import SavedGenerator
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import (
    SKIN_TYPE_NAMES,
    condition_code,
    skin_type_code,
)
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary

KEPT_PICTURES = 256  # as PNG files in memory: at 256 pixels about 30 MB
FIRST_VARIANTS = 4
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest; no time of ours is told

T = TypeVar("T")
Fields = Iterable[tuple[str, str]]


class StudioPages:
    """The routes of the drawing page.

    Args:
        generator: what paints.
        condition: str. What is chosen at first; None for the vocabulary's first.
        fitzpatrick: int, 0…6. The skin type that is chosen at first.
        queue: where painting waits its turn.

    Raises:
        InputError: for a condition or skin type that the generator does not know.
    """

    def __init__(
        self,
        generator: SavedGenerator,
        condition: str | None = None,
        fitzpatrick: int = SWEEP_SKIN_TYPE,
        queue: PaintingQueue | None = None,
    ):
        vocabulary = generator.vocabulary
        if condition is None:
            condition = vocabulary.conditions[0]
        vocabulary.index(condition)
        skin_type_code(fitzpatrick)
        self._generator = generator
        self._start = {
            "condition": condition,
            "fitzpatrick": fitzpatrick,
            "boxes": boxes_text([SWEEP_BOX]),
            "variants": FIRST_VARIANTS,
        }
        self._queue = queue or PaintingQueue()
        self._kept: collections.OrderedDict[ImageSpec, bytes] = (
            collections.OrderedDict()
        )

    def routes(self) -> list[Route]:
        return [
            Route("/", self.show),
            Route("/paint", self.paint, methods=["POST"]),
            Route("/picture.png", self.picture),
            Route("/map.png", self.map),
            Route("/pictures.zip", self.archive),
        ]

    async def show(self, request: Request) -> Response:
        generator = self._generator
        vocabulary = generator.vocabulary
        conditions = [
            {
                "name": name,
                "code": _joined(condition_code(place, len(vocabulary))),
                "healthy": name == HEALTHY,
            }
            for place, name in enumerate(vocabulary)
        ]
        skin_types = [
            {"value": value, "name": name, "code": skin_type_code(value)}
            for value, name in enumerate(SKIN_TYPE_NAMES)
        ]
        return page(
            "studio/studio.html",
            generator=generator,
            conditions=conditions,
            skin_types=[*skin_types[1:], skin_types[0]],
            start=self._start,
            source=_trained_on(generator),
            max_boxes=MAX_BOXES,
            max_variants=MAX_VARIANTS,
            max_seed=MAX_SEED,
        )

    async def paint(self, request: Request) -> Response:
        """Paints a scene in one call, and tells where its pictures are to be had."""
        form = await read_form(request)
        fields = [(name, value) for name, values in form.items() for value in values]
        scene = self._read(fields, read_scene)
        specs = [scene.picture, *scene.series]
        _, seconds = await self._painted(specs)
        return JSONResponse(
            {
                "picture": _told(scene.picture, ""),
                "series": [
                    _told(spec, label)
                    for spec, label in zip(scene.series, scene.labels, strict=True)
                ],
                "milliseconds": round(seconds * 1000, 1),
            }
        )

    async def picture(self, request: Request) -> Response:
        spec = self._asked(request, read_spec)
        painted, _ = await self._painted([spec])
        return _file(painted[spec], "image/png", f"{file_name(spec)}.png")

    async def map(self, request: Request) -> Response:
        spec = self._asked(request, read_map_spec)
        generator = self._generator
        data = encode_png(spec.semantic_map(generator.image_size, generator.vocabulary))
        return _file(data, "image/png", "semantic_map.png")

    async def archive(self, request: Request) -> Response:
        """The series as a zip of what `generate --write_maps` writes."""
        scene = self._asked(request, read_scene)
        data = await self._queue.run(lambda: scene_archive(self._generator, scene))
        name = file_name(scene.picture)
        kind = scene.sweep.title.partition(",")[0] if scene.sweep else "variants"
        kind = kind.replace(" ", "-")
        return _file(data, "application/zip", f"{name}_{kind}.zip", "attachment")

    def _asked(self, request: Request, read: Callable[[Fields, Vocabulary], T]) -> T:
        """What a request's address asks for, read by one of `studio_scene`."""
        _refuse_other_sites(request)
        return self._read(request.query_params.multi_items(), read)

    def _read(self, fields: Fields, read: Callable[[Fields, Vocabulary], T]) -> T:
        try:
            return read(fields, self._generator.vocabulary)
        except InputError as error:
            raise HTTPException(400, str(error)) from None

    async def _painted(
        self, specs: Iterable[ImageSpec]
    ) -> tuple[dict[ImageSpec, bytes], float]:
        """PNG files of specs, and the seconds that painting took: 0 for kept ones."""
        wanted = dict.fromkeys(specs)
        files = {spec: self._kept[spec] for spec in wanted if spec in self._kept}
        missing = [spec for spec in wanted if spec not in files]
        seconds = 0.0
        if missing:
            painted, seconds = await self._queue.run(
                lambda: _timed(lambda: paint_pngs(self._generator, missing))
            )
            files |= painted
        for spec, data in files.items():
            self._kept[spec] = data
            self._kept.move_to_end(spec)
        while len(self._kept) > KEPT_PICTURES:
            self._kept.popitem(last=False)
        return files, seconds


def paint_pngs(
    generator: SavedGenerator, specs: list[ImageSpec]
) -> dict[ImageSpec, bytes]:
    """Paints specs in one call; PNG files, the same as those of `generate`."""
    return {
        spec: encode_png(image, generator.provenance(**spec.texts()))
        for spec, _, image in paint_specs(generator, specs, len(specs))
    }


def scene_archive(generator: SavedGenerator, scene: Scene) -> bytes:
    """A zip of the folder that `generate --write_maps` makes of the same series.

    That is images/, maps/ and generated.jsonl; of a sweep sheet.png as well.
    """
    with tempfile.TemporaryDirectory(prefix="studio_") as name:
        folder = pathlib.Path(name)
        if scene.sweep:
            write_sweep(generator, scene.sweep, folder, write_maps=True)
        else:
            write_images(generator, scene.series, folder, write_maps=True)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:  # PNGs are compressed already
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_DATE)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def require_painting(generator: SavedGenerator, path: str) -> None:
    """Paints one picture: the first is slow, and a damaged model fails here.

    Raises:
        InputError: if it cannot be painted.
    """
    spec = ImageSpec(generator.vocabulary.conditions[0], 0, (), 0)
    size = generator.image_size
    try:
        ((_, _, image),) = paint_specs(generator, [spec])
        if image.shape != (size, size, 3) or image.dtype != "uint8":
            raise ValueError(f"its picture is {image.dtype} {list(image.shape)}")
    except Exception as error:  # whatever TensorFlow says to a foreign graph
        cause = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(
            f"SavedModel {path} does not paint as a dermgan_tf generator does: {cause}"
        ) from error


def _trained_on(generator: SavedGenerator) -> str:
    provenance = generator.metadata.get("provenance")
    return str(provenance.get("source", "")) if isinstance(provenance, dict) else ""


def _told(spec: ImageSpec, label: str) -> dict[str, Any]:
    return {
        "picture": f"/picture.png?{address_fields(spec)}",
        "map": f"/map.png?{address_fields(spec, MAP_FIELDS)}",
        "label": label,
        "condition": spec.condition,
        "fitzpatrick": spec.fitzpatrick,
        "boxes": json.loads(json.dumps(spec.boxes)),
        "seed": spec.seed,
    }


def _refuse_other_sites(request: Request) -> None:
    # Answers are out of their reach in any case; painting is work.
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403, "This request did not come from one of these pages.")


def _file(data: bytes, kind: str, name: str, disposition: str = "inline") -> Response:
    headers = {"content-disposition": f'{disposition}; filename="{name}"'}
    return Response(data, media_type=kind, headers=headers)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
