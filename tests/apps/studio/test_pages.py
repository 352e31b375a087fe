"""The drawing page's routes: pictures, archives, and what is refused."""

import asyncio
import io
import json
import threading
import urllib.parse
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers.tiny_saved_model import SIZE, VOCABULARY

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.exceptions import HTTPException  # noqa: E402

from dermgan_tf.apps.studio.pages import StudioPages, require_painting  # noqa: E402
from dermgan_tf.apps.studio.scene import (  # noqa: E402
    address_fields,
    file_name,
    read_spec,
)
from dermgan_tf.apps.web.painting_queue import PaintingQueue  # noqa: E402
from dermgan_tf.errors import InputError  # noqa: E402
from dermgan_tf.generation.folder import read_generated, read_generated_image  # noqa
from dermgan_tf.generation.painting import write_images, write_sweep
from dermgan_tf.generation.plan import ImageSpec, plan_sweep  # noqa: E402
from dermgan_tf.models.dermgan.served import load_generator
from dermgan_tf.photos.photo_io import read_png_text  # noqa: E402
from dermgan_tf.photos.semantic_map import Roi, encode_semantic_map  # noqa: E402
from tests.helpers.studio_site import FIELDS, SCENE, get, post, running  # noqa: E402

BOX = (0.25, 0.25, 0.5, 0.75)
SPEC = ImageSpec("melanoma", 4, (BOX,), 7)
OTHER_SITE = {"Sec_Fetch_Site": "cross-site"}


@pytest.fixture(scope="module")
def generator(vivid_saved_model):
    return load_generator(vivid_saved_model)


@pytest.fixture(scope="module")
def port(generator):
    with running(StudioPages(generator)) as port:
        yield port


def pixels(response):
    return np.asarray(Image.open(io.BytesIO(response.body)))


# --- pictures ------------------------------------------------------------------------


def test_a_picture_is_the_file_that_generate_writes(port, generator, tmp_path):
    write_images(generator, [SPEC], tmp_path)
    response = get(port, "/picture.png", FIELDS)
    assert response.status == 200
    assert response.getheader("content-type") == "image/png"
    assert response.body == (tmp_path / "images/000000.png").read_bytes()
    text = read_png_text(response.body)
    assert text["synthetic"] == "true" and text["generator"] == generator.fingerprint
    assert text["condition"] == "melanoma" and text["fitzpatrick"] == "4"
    assert json.loads(text["boxes"]) == [list(BOX)] and text["seed"] == "7"


def test_a_picture_is_what_plain_tensorflow_paints(port, vivid_saved_model):
    paint = tf.saved_model.load(str(vivid_saved_model)).signatures["from_annotation"]
    wanted = paint(
        condition=tf.constant(["melanoma"]),
        fitzpatrick=tf.constant([4]),
        boxes=tf.constant([[BOX]], tf.float32),
        seed=tf.constant([7]),
    )
    response = get(port, "/picture.png", FIELDS)
    np.testing.assert_array_equal(pixels(response), wanted["image"][0])
    fields = {name: value for name, value in FIELDS.items() if name != "seed"}
    shown = get(port, "/map.png", fields)
    np.testing.assert_array_equal(pixels(shown), wanted["semantic_map"][0])
    ours = encode_semantic_map(SIZE, 4, [Roi(BOX, "melanoma")], VOCABULARY)
    np.testing.assert_array_equal(pixels(shown), ours)


def test_variants_are_painted_together_and_kept(generator):
    calls = []

    class Counting(type(generator)):
        def __init__(self):
            self.__dict__.update(generator.__dict__)

        def paint(self, maps, seeds):
            calls.append(list(seeds))
            return generator.paint(maps, seeds)

    with running(StudioPages(Counting())) as port:
        response = post(port, SCENE | {"variants": "16"})
        assert response.status == 200
        told = json.loads(response.body)
        assert calls == [list(range(7, 23))]  # the scene's own picture is one of them
        assert told["milliseconds"] > 0 and len(told["series"]) == 16
        assert told["picture"]["picture"] == told["series"][0]["picture"]
        pictures = [get(port, item["picture"]).body for item in told["series"]]
        assert len(set(pictures)) == 16 and len(calls) == 1
        again = json.loads(post(port, SCENE | {"variants": "16"}).body)
        assert again["milliseconds"] == 0 and len(calls) == 1
        for item in told["series"]:
            assert read_png_text(get(port, item["picture"]).body)["seed"] == str(
                item["seed"]
            )


def test_many_pictures_do_not_fill_the_memory(generator):
    pages = StudioPages(generator)
    kept = pages._kept
    for place in range(300):
        kept[ImageSpec("melanoma", 1, (), place)] = b""
    with running(pages) as port:
        assert get(port, "/picture.png", FIELDS).status == 200
    assert len(kept) == 256 and SPEC in kept


@pytest.mark.parametrize("series", ["skin_color", "size"])
def test_sweeps_are_those_of_generate(port, series):
    told = json.loads(post(port, SCENE | {"series": series}).body)
    skin_type = None if series == "skin_color" else 4
    sweep = plan_sweep(series, VOCABULARY, 7, "melanoma", skin_type, [BOX])
    for spec, item, label in zip(
        sweep.image_specs(), told["series"], sweep.column_labels, strict=True
    ):
        assert item["label"] == label and item["seed"] == 7
        assert (item["condition"], item["fitzpatrick"]) == (
            spec.condition,
            spec.fitzpatrick,
        )
        assert tuple(map(tuple, item["boxes"])) == spec.boxes
        text = read_png_text(get(port, item["picture"]).body)
        assert json.loads(text["boxes"]) == [list(box) for box in spec.boxes]
        own_map = spec.semantic_map(SIZE, VOCABULARY)
        np.testing.assert_array_equal(pixels(get(port, item["map"])), own_map)
    assert len({item["picture"] for item in told["series"]}) == 6


@pytest.mark.parametrize("series", ["variants", "skin_color", "size"])
def test_an_archive_is_the_folder_of_generate(port, generator, tmp_path, series):
    fields = SCENE | {"series": series, "variants": "3"}
    response = get(port, "/pictures.zip", fields)
    assert response.status == 200
    assert response.getheader("content-type") == "application/zip"
    assert response.getheader("content-disposition").startswith("attachment; ")
    ours, theirs = tmp_path / "zip", tmp_path / "generate"
    theirs.mkdir()
    if series == "variants":
        specs = [ImageSpec("melanoma", 4, (BOX,), seed) for seed in (7, 8, 9)]
        write_images(generator, specs, theirs, write_maps=True)
    else:
        skin_type = None if series == "skin_color" else 4
        sweep = plan_sweep(series, VOCABULARY, 7, "melanoma", skin_type, [BOX])
        write_sweep(generator, sweep, theirs, write_maps=True)
    with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
        assert archive.testzip() is None
        archive.extractall(ours)
    files = {path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file()}
    assert files == {p.relative_to(ours) for p in ours.rglob("*") if p.is_file()}
    for path in files:
        assert (ours / path).read_bytes() == (theirs / path).read_bytes()
    for line in read_generated(ours):  # as a training program takes them
        read_generated_image(ours / line["image"], line)
    assert get(port, "/pictures.zip", fields).body == response.body


def test_addresses_and_names_of_files():
    for spec in (
        SPEC,
        ImageSpec("SK/ISK", 0, (), 2**31 - 1),
        ImageSpec("vitiligo", 6, ((0.1, 0.2, 1 / 3, 1e-05 + 0.4), BOX), 0),
    ):
        fields = urllib.parse.parse_qsl(address_fields(spec))
        assert read_spec(fields, VOCABULARY) == spec
    assert file_name(ImageSpec("SK/ISK é", 0, (), 3)) == (
        "synthetic_SK-ISK--_type-unknown_seed-3"
    )


def test_healthy_skin_and_no_box(port):
    for condition in ("healthy skin", "melanoma"):
        fields = SCENE | {"condition": condition, "boxes": "none"}
        told = json.loads(post(port, fields).body)
        own_map = pixels(get(port, told["picture"]["map"]))
        assert not own_map[..., 1:].any() and (own_map[..., 0] == 170).all()


# --- what is refused -----------------------------------------------------------------

BAD = [
    ({"condition": "mole"}, "unknown condition 'mole'; known: melanoma"),
    ({"condition": ""}, "unknown condition ''"),
    ({"condition": "x" * 3000}, "the field condition has 3000 characters"),
    ({"condition": "<script>"}, "unknown condition"),
    ({"fitzpatrick": "7"}, "skin type 7"),
    ({"fitzpatrick": "IV"}, "fitzpatrick='IV' is not a whole number"),
    ({"fitzpatrick": "-1"}, "is not a whole number"),
    ({"fitzpatrick": "٣"}, "is not a whole number"),
    ({"seed": "1.5"}, "seed='1.5' is not a whole number"),
    ({"seed": "2147483648"}, "bad seed 2147483648"),
    ({"seed": "9" * 400}, "is not a whole number"),
    ({"boxes": ""}, "is not ymin,xmin,ymax,xmax"),
    ({"boxes": "0.1,0.2,0.3"}, "is not ymin,xmin,ymax,xmax"),
    ({"boxes": "[[0.1,0.2,0.3,0.4]]"}, "is not ymin,xmin,ymax,xmax"),
    ({"boxes": "nan,0,1,1"}, "not finite"),
    ({"boxes": "0,0,1e999,1"}, "not finite"),
    ({"boxes": "0.1,0.1,1.01,0.5"}, "reaches outside 0…1"),
    ({"boxes": "-0.1,0.1,0.5,0.5"}, "reaches outside 0…1"),
    ({"boxes": "0.5,0.1,0.2,0.5"}, "inverted or empty"),
    ({"boxes": ";".join(["0.1,0.1,0.2,0.2"] * 17)}, "17 boxes; at most 16"),
    ({"condition": "healthy skin"}, "'healthy skin' has no box"),
    ({"series": "place"}, "unknown series 'place'; known: variants, skin_color, size"),
    ({"series": "size", "boxes": "none"}, "varies the boxes"),
    ({"variants": "0"}, "variants=0; valid: 1…16"),
    ({"variants": "17"}, "variants=17; valid: 1…16"),
    ({"variants": "many"}, "variants='many' is not a whole number"),
    ({"path": "/etc/passwd"}, "unknown field 'path'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_scenes(port, change, message):
    fields = SCENE | change
    response = post(port, fields)
    told = json.loads(response.body)["message"]
    assert response.status == 400 and message in told and "\n" not in told
    page = get(port, "/pictures.zip", fields)
    assert page.status == 400 and b"<script>" not in page.body
    only = {k: v for k, v in fields.items() if k not in ("series", "variants")}
    if set(change) <= set(FIELDS) and "series" not in change:
        assert get(port, "/picture.png", only).status == 400


def test_bad_requests(port):
    def status(*arguments, **headers):
        return post(port, *arguments, **headers).status

    for name in SCENE:
        fields = {key: value for key, value in SCENE.items() if key != name}
        response = post(port, fields)
        message = json.loads(response.body)["message"]
        assert (response.status, message) == (400, f"the field {name} is missing")
    assert status([*SCENE.items(), ("seed", "8")]) == 400
    assert status(b"\xff\xfe") == 400
    assert status(b"&".join([b"seed=1"] * 300)) == 400
    assert status(b"boxes=" + b"0" * (65 << 10)) == 413
    assert status(b"{}", Content_Type="application/json") == 415
    assert status(SCENE, Origin="http://evil.example") == 403
    assert status(SCENE, Origin=None) == 403
    assert status(SCENE, **OTHER_SITE) == 403
    assert get(port, "/paint", SCENE).status == 405
    assert get(port, "/map.png", FIELDS).status == 400  # a map has no seed
    assert get(port, "/nowhere").status == 404
    for path, fields in (("/picture.png", FIELDS), ("/pictures.zip", SCENE)):
        # <img src="http://127.0.0.1:8000/picture.png?…"> on another site's page
        assert get(port, path, fields, **OTHER_SITE).status == 403
        assert get(port, path, fields, Sec_Fetch_Site="same-origin").status == 200
        assert get(port, path, fields, Host="evil.example").status == 421
    assert status(SCENE) == 200


def test_the_page_and_its_headers(port, generator):
    response = get(port, "/")
    text = response.body.decode()
    policy = response.getheader("content-security-policy")
    assert "img-src 'self';" in policy and "unsafe" not in policy
    assert generator.fingerprint[:8] in text and "trained on drawn phantoms" in text
    assert (
        text.count(">Synthetic<") >= 2 and '<option value="SK/ISK" data-code="' in text
    )
    for name in VOCABULARY:
        assert f">{name}</option>" in text
    for path in ("/static/studio.js", "/static/box_canvas.js", "/static/studio.css"):
        assert get(port, path).status == 200
    picture = get(port, "/picture.png", FIELDS)
    assert picture.getheader("content-disposition") == (
        'inline; filename="synthetic_melanoma_type-IV_seed-7.png"'
    )
    assert picture.getheader("cache-control") == "no-store"


def test_a_token_stands_before_everything(generator):
    with running(StudioPages(generator), "a token of this test alone") as port:
        for path, fields in (("/", None), ("/picture.png", FIELDS)):
            assert get(port, path, fields).status == 401
        assert post(port, SCENE).status == 401


# --- the queue -----------------------------------------------------------------------


def test_a_full_queue_says_so_and_recovers():
    queue = PaintingQueue(2)
    begun, go_on = threading.Event(), threading.Event()
    order = []

    def slow():
        begun.set()
        assert go_on.wait(60)
        order.append("slow")
        return "slow"

    async def ask():
        first = asyncio.ensure_future(queue.run(slow))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(queue.run(lambda: order.append("second")))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await queue.run(lambda: order.append("third"))
        assert refused.value.status_code == 503
        assert "2 requests are waiting" in refused.value.detail
        assert refused.value.headers == {"Retry-After": "1"}
        second.cancel()  # who waited has gone; the queue goes on
        go_on.set()
        assert await first == "slow"
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 / 0)
        for _ in range(5):
            await queue.run(lambda: order.append("later"))

    asyncio.run(ask())
    assert order[0] == "slow" and order.count("later") == 5 and "third" not in order


def test_a_busy_painter_answers_503(generator):
    queue = PaintingQueue(1)
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(60)

    with running(StudioPages(generator, queue=queue)) as port:
        blocked = threading.Thread(target=lambda: asyncio.run(queue.run(slow)))
        blocked.start()
        assert begun.wait(60)
        for response in (post(port, SCENE), get(port, "/picture.png", FIELDS)):
            assert response.status == 503
            assert response.getheader("retry-after") == "1"
            assert b"try again in a moment" in response.body
        assert get(port, "/").status == 200  # what is not painted is there
        go_on.set()
        blocked.join(60)
        assert post(port, SCENE).status == 200


def test_many_at_once_get_their_own_pictures(port, generator):
    wanted, got = {}, {}

    def ask(seed):
        fields = FIELDS | {"seed": str(seed)}
        while (response := get(port, "/picture.png", fields)).status == 503:
            pass
        got[seed] = response.body

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(100, 124)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for seed, data in got.items():
        wanted[seed] = str(seed)
        assert read_png_text(data)["seed"] == str(seed)
    assert len(wanted) == 24 and len(set(got.values())) == 24


# --- the generator -------------------------------------------------------------------


def test_what_the_generator_does_not_know(generator):
    with pytest.raises(InputError, match="unknown condition 'mole'; known: melanoma"):
        StudioPages(generator, "mole")
    with pytest.raises(InputError, match="skin type 7"):
        StudioPages(generator, None, 7)


def test_a_generator_that_does_not_paint(generator):
    class Foreign(type(generator)):
        def __init__(self, paint):
            self.__dict__.update(generator.__dict__)
            self.paint = paint

    require_painting(generator, "m")

    def fails(maps, seeds):
        raise tf.errors.InvalidArgumentError(None, None, "no such op\n  a trace")

    for paint in (fails, lambda maps, seeds: np.zeros((1, 8, 8, 3), np.uint8)):
        with pytest.raises(InputError, match="m does not paint as") as error:
            require_painting(Foreign(paint), "m")
        assert "\n" not in str(error.value)
