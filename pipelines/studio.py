"""The drawing page: draw boxes, choose condition and skin type, see them painted.

Serves an exported generator in a browser, on this machine or to others. Nothing is
stored; pictures that are downloaded say that they are synthetic, as those of generate.
"""

from absl import flags

from pipelines.shared import program


def define_flags() -> None:
    flags.DEFINE_string(
        "saved_model", None, "SavedModel folder of export_generator.", required=True
    )
    flags.DEFINE_list(
        "vocabulary",
        None,
        "The conditions that the generator must have, in their order, comma-separated: "
        "another one is refused. Default: any.",
    )
    flags.DEFINE_string(
        "condition", None, "Chosen at first. Default: the vocabulary's first."
    )
    flags.DEFINE_integer(
        "fitzpatrick",
        3,
        "Fitzpatrick skin type chosen at first, 1 to 6; 0 = unknown.",
        lower_bound=0,
        upper_bound=6,
    )
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
        "What other machines must know to reach the page, 16 characters or more. "
        "Default: a new one at each start.",
    )
    flags.DEFINE_string(
        "public_url",
        "",
        "What people open, where --host does not tell it: behind a proxy, or with "
        "--host=0.0.0.0.",
    )


def main(args) -> None:
    import secrets

    from dermgan_tf.errors import InputError

    try:
        from dermgan_tf.apps.web import serving
        from dermgan_tf.apps.web.access import require_token
        from dermgan_tf.apps.web.application import make_application
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise InputError(
            f'{error.name} is not installed; pip install "dermgan_tf[studio]" brings it'
        ) from None
    from dermgan_tf.photos.vocabulary import Vocabulary
    from dermgan_tf.remote_storage import without_file_scheme

    wanted = Vocabulary(args.vocabulary) if args.vocabulary else None
    token = require_token(args.token) if args.token else ""
    public = not serving.is_loopback(args.host) or bool(args.public_url)
    if public and not token:
        token = secrets.token_urlsafe(24)
    bound = serving.bind(args.host, args.port)
    address = serving.address_of(bound, args.host, token, args.public_url)
    program.load_tensorflow()
    from dermgan_tf.apps.studio.pages import StudioPages, require_painting
    from dermgan_tf.models.dermgan.served import load_generator

    saved_model = without_file_scheme(args.saved_model)
    generator = load_generator(saved_model)
    if wanted:
        wanted.require_equal(
            generator.vocabulary, "--vocabulary", f"SavedModel {saved_model}"
        )
    pages = StudioPages(generator, args.condition, args.fitzpatrick)
    require_painting(generator, saved_model)
    size, names = generator.image_size, generator.vocabulary
    print(
        f"generator {generator.fingerprint[:8]}: {size} × {size} pixels, "
        f"{len(names)} conditions ({', '.join(names)})"
    )
    print(f"open {address.url}/{f'#token={token}' if token else ''}")
    print("Ctrl-C stops; nothing is stored", flush=True)
    serving.serve(make_application(pages.routes(), address), bound)


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
