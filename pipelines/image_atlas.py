"""The image atlas: real, drawn and synthetic skin images, searched by what they show.

build    embeds images of annotations, pairs and generate into an atlas, or adds to one
search   finds images like a photo, by condition, skin type, provenance, or all of these
serve    shows the atlas in a browser, on this machine or to others
"""

import contextlib
import pathlib
import sys
import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.id_flags import define_id_flags, id_salt


def define_build_flags() -> None:
    flags.DEFINE_string(
        "output_dir",
        None,
        "The atlas: a folder to make or to add to, or gs://, s3://, az://.",
        required=True,
    )
    flags.DEFINE_multi_string(
        "annotations", [], "annotations.jsonl of photos; may be given several times."
    )
    flags.DEFINE_multi_string(
        "data_dir", [], "Folder of prepare_pairs; may be given several times."
    )
    flags.DEFINE_multi_string(
        "synthetic_dir", [], "Folder of generate; may be given several times."
    )
    _define_embedding_flags(
        "colour_texture",
        "What images are compared by: colour_texture (built in, needs no weights), "
        "mobilenet_v2, inception_v3, tfgan, or the path of a .keras model.",
    )
    flags.DEFINE_list(
        "conditions",
        None,
        "All conditions of the atlas, where sources have different ones.",
    )
    flags.DEFINE_string("title", "Image atlas", "What pages show above.")
    flags.DEFINE_integer(
        "picture_size",
        256,
        "Pixels of the longer side of the pictures that are kept and compared.",
        lower_bound=64,  # or the mark of a synthetic one could not be read
        upper_bound=2048,
    )
    flags.DEFINE_integer(
        "commit_every", 1024, "Images between commits: what a kill loses at most.", 1
    )
    flags.DEFINE_integer("batch_size", 32, "Images that are embedded at once.", 1)
    flags.DEFINE_integer(
        "workers", None, "Processes that decode photos. Default: one a core.", 1
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad images that is tolerated.",
        lower_bound=0,
        upper_bound=1,
    )
    define_id_flags("the atlas")


def build(args) -> None:
    from dermgan_tf.apps.atlas.build import Settings, build_atlas, open_for_build
    from dermgan_tf.apps.atlas.sources import (
        annotations_source,
        generated_source,
        pairs_source,
    )
    from dermgan_tf.apps.atlas.store import connect
    from dermgan_tf.errors import InputError, TooManyRejects

    started = time.monotonic()
    if not (args.annotations or args.data_dir or args.synthetic_dir):
        raise InputError("give --annotations, --data_dir or --synthetic_dir")
    salt = id_salt(args)
    connect(args.output_dir)  # is it installed?
    with _held(args.output_dir) as folder:
        sources = [
            *map(generated_source, args.synthetic_dir),
            *map(annotations_source, args.annotations),
        ]
        if args.data_dir:
            program.load_tensorflow()
            sources += map(pairs_source, args.data_dir)
        embedding = _embedding(args.embedding, args.embedding_weights)
        settings = Settings(
            title=args.title,
            conditions=args.conditions,
            picture_size=args.picture_size,
            embedding_flag=args.embedding,
            salt=salt,
            max_reject_fraction=args.max_reject_fraction,
            commit_every=args.commit_every,
            batch_size=args.batch_size,
            workers=args.workers,
        )
        store = open_for_build(args.output_dir, sources, embedding, settings)
        try:
            outcome = build_atlas(store, sources, embedding, settings, program.progress)
        except TooManyRejects as error:
            _write_rejects(folder, error.rejects)
            raise
        _write_rejects(folder, outcome.rejects + outcome.notes)
        if folder is not None:
            from dermgan_tf.run_record import write_run_record

            prints = [source.fingerprint for source in sources]
            write_run_record(
                folder,
                "image_atlas build",
                program.flag_values(args),
                data_fingerprint="+".join(filter(None, prints)) or None,
                durations={"total": time.monotonic() - started},
            )
    about = store.about
    kind = "with an index" if outcome.indexed else "searched exactly, without an index"
    print(
        f"{args.output_dir}: {outcome.images} images of {len(about.conditions)} "
        f"conditions ({outcome.added} added, {outcome.known} there before, "
        f"{outcome.doubled} doubled, {len(outcome.rejects)} bad), "
        f"{about.embedding['name']}, {kind}"
    )
    counts = store.counts()
    for provenance in ("real", "phantom", "synthetic"):
        count = sum(n for key, n in counts.items() if key[2] == provenance)
        print(f"{provenance}: {count}")
    if outcome.notes:
        print(f"note: {len(outcome.notes)} images with other labels, see rejects.csv")


def define_search_flags() -> None:
    _define_atlas_flag()
    flags.DEFINE_string("image", None, "Photo of your own: images like it.")
    flags.DEFINE_string("like", None, "Id of an image of the atlas: images like it.")
    flags.DEFINE_multi_string(
        "condition", [], "Only this one; may be given several times."
    )
    flags.DEFINE_list("fitzpatrick", [], "Only these skin types: 1…6, 0 = unknown.")
    flags.DEFINE_list("provenance", [], "Only these: real, phantom, synthetic.")
    flags.DEFINE_bool(
        "skin_colours",
        False,
        "The condition on all six skin colours: the most similar images of each.",
    )
    flags.DEFINE_integer("limit", 10, "Images (with --skin_colours: of each).", 1, 1000)
    flags.DEFINE_bool(
        "exact", False, "Compare all images; else those that an index proposes."
    )
    flags.DEFINE_string("contact_sheet", None, "PNG file to write: the images found.")
    _define_embedding_flags(None, "The atlas' embedding. Default: as it was built.")
    flags.register_multi_flags_validator(
        ["image", "like"],
        lambda values: not (values["image"] and values["like"]),
        "give --image or --like",
    )


def search(args) -> None:
    from dermgan_tf.apps.atlas.filters import ROMAN, parse_filters
    from dermgan_tf.apps.atlas.query import (
        on_skin_colours,
        sheet_of,
        vector_of,
    )
    from dermgan_tf.apps.atlas.store import AtlasStore
    from dermgan_tf.errors import InputError
    from dermgan_tf.photos.photo_io import read_photo

    store = AtlasStore(args.atlas)
    about = store.about
    filters = parse_filters(
        about.conditions, args.condition, args.fitzpatrick, args.provenance
    )
    vector, origin = None, None
    if args.image:
        photo = read_photo(args.image)
        embedding = _embedding_of(store, args)
        vector = vector_of(photo, embedding, about.picture_size)
    elif args.like:
        origin = store.facts(args.like)
        if origin is None:
            raise InputError(f"the atlas {args.atlas} has no image {args.like[:80]!r}")
        vector = store.vector(args.like)
    without = origin.id if origin else ""
    if args.skin_colours:
        conditions = filters.conditions or ((origin.condition,) if origin else ())
        if vector is None or len(conditions) != 1 or filters.fitzpatrick:
            raise InputError(
                "--skin_colours wants --like, or --image with one --condition; and no "
                "--fitzpatrick"
            )
        found = on_skin_colours(
            store,
            vector,
            conditions[0],
            args.limit,
            filters.provenances,
            args.exact,
            without,
        )
        rows = list(found.values())
        labels = [f"type {ROMAN[skin_type]}" for skin_type in found]
    elif vector is None:
        rows, labels = [store.browse(filters, args.limit)], [""]
    else:
        hits = store.similar(
            vector,
            filters,
            args.limit,
            exact=args.exact,
            without=without,
        )
        rows, labels = [hits], [""]
    for line in _table([one for row in rows for one in row]):
        print(line)
    if args.contact_sheet:
        _write_sheet(args.contact_sheet, store, rows, labels, sheet_of)


def define_serve_flags() -> None:
    _define_atlas_flag()
    _define_embedding_flags(
        None,
        "The atlas' embedding, for photos that people bring. Default: as it was built.",
    )
    flags.DEFINE_bool("uploads", True, "Whether people may search by their own photo.")
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to serve on. Others than this machine's own ask everyone for a token.",
    )
    flags.DEFINE_integer(
        "port", 8000, "Port; 0 = any free one.", lower_bound=0, upper_bound=65535
    )
    flags.DEFINE_string(
        "token",
        "",
        "What other machines must know to reach any page, 16 characters or more. "
        "Default: one is made, and kept in ATLAS/access_token.",
    )
    flags.DEFINE_string(
        "public_url",
        "",
        "What people open, where --host does not tell it: behind a proxy, or with "
        "--host=0.0.0.0.",
    )


def serve(args) -> None:
    from dermgan_tf.errors import InputError

    try:
        from dermgan_tf.apps.atlas.pages import MAX_UPLOAD, AtlasPages
        from dermgan_tf.apps.web import serving
        from dermgan_tf.apps.web.access import kept_token, require_token
        from dermgan_tf.apps.web.application import make_application
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise InputError(
            f'{error.name} is not installed; pip install "dermgan_tf[atlas]" brings it'
        ) from None
    from dermgan_tf.apps.atlas.store import AtlasStore
    from dermgan_tf.remote_storage import is_remote

    store = AtlasStore(args.atlas)
    embedding, why = None, "--nouploads was given"
    if args.uploads:
        try:
            embedding = _embedding_of(store, args)
        except InputError as error:
            # What was named must fit; without it the rest of the pages still works.
            if args.embedding or args.embedding_weights:
                raise
            why = str(error)
    token = require_token(args.token) if args.token else ""
    public = not serving.is_loopback(args.host) or bool(args.public_url)
    if public and not token:
        if is_remote(args.atlas):
            raise InputError("give a --token: an atlas on an object store keeps none")
        token = kept_token(pathlib.Path(args.atlas) / "access_token")
    bound = serving.bind(args.host, args.port)
    address = serving.address_of(bound, args.host, token, args.public_url)
    pages = AtlasPages(store, embedding)
    print(f"{store.about.title}: {len(store)} images, {store.about.embedding['name']}")
    print(f"open {address.url}/{f'#token={token}' if token else ''}")
    if embedding is None:
        print(f"no search by own photos: {why}")
    print("Ctrl-C stops", flush=True)
    try:
        serving.serve(make_application(pages.routes(), address, MAX_UPLOAD), bound)
    finally:
        pages.close()


def _define_atlas_flag() -> None:
    flags.DEFINE_string("atlas", None, "The atlas: its folder or URL.", required=True)


def _define_embedding_flags(default: str | None, text: str) -> None:
    flags.DEFINE_string("embedding", default, text)
    flags.DEFINE_string(
        "embedding_weights",
        None,
        "Weights file (.weights.h5, without top) for inception_v3 or mobilenet_v2, or "
        "the folder of TF-GAN's TF-Hub module. Default: the published weights, which "
        "are downloaded on first use.",
    )


def _embedding(name: str, weights: str | None):
    from dermgan_tf.apps.atlas.vectors import open_embedding

    if name != "colour_texture":
        program.load_tensorflow()
    return open_embedding(name, weights)


def _embedding_of(store, args):
    from dermgan_tf.apps.atlas.vectors import embedding_of

    if (args.embedding or store.about.embedding_flag) not in ("", "colour_texture"):
        program.load_tensorflow()
    return embedding_of(
        store.about, args.embedding, args.embedding_weights, store.where
    )


@contextlib.contextmanager
def _held(path: str):
    """The local folder, held against other builds; None on an object store."""
    from dermgan_tf.output_folder import locked_folder
    from dermgan_tf.remote_storage import is_remote, without_file_scheme

    if is_remote(path):
        yield None
        return
    with locked_folder(without_file_scheme(path)) as folder:
        yield folder


def _write_rejects(folder, rejects) -> None:
    from dermgan_tf.errors import write_rejects

    if folder is not None:
        write_rejects(folder / "rejects.csv", rejects)
        return
    for one in rejects:  # no folder to leave a list in
        print(f"left out: {one.item}: {one.reason}", file=sys.stderr)


def _table(found) -> list[str]:
    """The images as lines of columns."""
    from dermgan_tf.apps.atlas.filters import ROMAN

    rows = [("id", "similarity", "provenance", "type", "condition", "case", "split")]
    for one in found:
        similarity = "" if one.similarity is None else f"{one.similarity:.4f}"
        provenance = "SYNTHETIC" if one.synthetic else one.provenance
        skin = ROMAN[one.fitzpatrick]
        rows.append(
            (
                *(one.id, similarity, provenance, skin),
                *(one.condition, one.case, one.split),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return [line.rstrip() for line in lines] if found else ["no image"]


def _write_sheet(path: str, store, rows, labels, sheet_of) -> None:
    from dermgan_tf.errors import InputError
    from dermgan_tf.output_folder import atomic_write
    from dermgan_tf.photos.photo_io import encode_png

    if pathlib.Path(path).suffix.lower() != ".png":
        raise InputError(f"--contact_sheet={path}: want a .png file")
    images = [one for row in rows for one in row]
    if not images:
        raise InputError("no image was found: there is nothing to draw")
    text = {"synthetic": "true"} if any(one.synthetic for one in images) else {}
    if len(rows) == 1:  # a line is as long as a screen is wide
        rows = [images[start : start + 6] for start in range(0, len(images), 6)]
        labels = [""] * len(rows)
    sheet = sheet_of(store, rows, labels, store.about.title)
    atomic_write(path, encode_png(sheet, text))
    print(f"contact sheet: {path}")


COMMANDS = {
    "build": (define_build_flags, build),
    "search": (define_search_flags, search),
    "serve": (define_serve_flags, serve),
}


def run() -> None:
    program.run_command(COMMANDS)


if __name__ == "__main__":
    run()
