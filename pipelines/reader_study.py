"""The reader study: can people tell real images from synthetic ones, and conditions?

build    draws held-out crops and images of generate into a study's folder
invite   adds participants, and prints their codes
serve    shows the study in a browser, on this machine or to others
analyze  what the answers come to: report.html, analysis.json, answers.csv
"""

import contextlib
import pathlib
import tempfile
import time

from absl import flags

from pipelines.shared import program

PARTS = {"both": ("turing", "recognition"), "1": ("turing",), "2": ("recognition",)}


def define_build_flags() -> None:
    flags.DEFINE_string("pairs", None, "Pairs folder whose crops are the real images.")
    flags.DEFINE_string(
        "annotations",
        None,
        "annotations.jsonl whose photos are cut for the real images, not --pairs.",
    )
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "The split that real images are of; the generator should not have seen it.",
    )
    flags.DEFINE_string(
        "generated",
        None,
        "Output folder of generate: the synthetic images.",
        required=True,
    )
    flags.DEFINE_string("output_dir", None, "Folder to make: the study.", required=True)
    flags.DEFINE_integer("real", 80, "Real images of part 1.", lower_bound=0)
    flags.DEFINE_integer("synthetic", 80, "Synthetic images of part 1.", lower_bound=0)
    flags.DEFINE_integer("questions", 16, "Questions of part 2.", lower_bound=0)
    flags.DEFINE_integer(
        "images_per_question",
        8,
        "Images of a question of part 2, half of them real; even.",
        lower_bound=4,
        upper_bound=9,
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of all images, in pixels. Default: the smaller of real and synthetic.",
        lower_bound=16,
    )
    flags.DEFINE_integer(
        "jpeg_quality", 90, "Of all images, 1 to 95.", lower_bound=1, upper_bound=95
    )
    flags.DEFINE_string("title", "Real or synthetic?", "What participants read above.")
    flags.DEFINE_string(
        "introduction",
        None,
        "Text file to show before the consent: paragraphs between blank lines.",
    )
    flags.DEFINE_integer("participants", 10, "Codes to make.", lower_bound=0)
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad annotations that is tolerated.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Seed of what is drawn.", lower_bound=0)
    flags.DEFINE_bool(
        "overwrite", False, "Replace a non-empty output folder that has no answers."
    )
    flags.register_multi_flags_validator(
        ["pairs", "annotations"],
        lambda values: bool(values["pairs"]) != bool(values["annotations"]),
        "give --pairs or --annotations",
    )


def build(args) -> None:
    from dermgan_tf.apps.reader_study.build import (
        Settings,
        build_study,
        read_introduction,
        require_no_answers,
    )
    from dermgan_tf.apps.reader_study.pools import GeneratedPool, PairsPool
    from dermgan_tf.apps.reader_study.study import read_study
    from dermgan_tf.generation.folder import read_generated
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.run_record import write_run_record

    started = time.monotonic()
    settings = Settings(
        real=args.real,
        synthetic=args.synthetic,
        questions=args.questions,
        images_per_question=args.images_per_question,
        image_size=args.image_size,
        quality=args.jpeg_quality,
        title=args.title,
        introduction=read_introduction(args.introduction),
        seed=args.seed,
    )
    require_no_answers(args.output_dir)
    read_generated(args.generated)  # what is wrong with it is said at once
    program.load_tensorflow()
    inputs = [path for path in (args.pairs, args.annotations, args.generated) if path]
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        with _pairs(args) as pairs:
            real = PairsPool(pairs, args.split)
            synthetic = GeneratedPool(args.generated, real.vocabulary)
            pools = {"real": real, "synthetic": synthetic}
            built = build_study(folder, pools, settings, program.progress)
        _invite(folder, read_study(folder), args.participants, "", PARTS["both"])
        write_run_record(
            folder,
            "reader_study build",
            {**program.flag_values(args), "generator": synthetic.generator},
            seed=args.seed,
            data_fingerprint=real.fingerprint,
            durations={"total": time.monotonic() - started},
            left_out=built["notes"],
        )
    print(
        f"{args.output_dir}: {built['questions']} questions, {built['images']} images "
        f"of {built['image_size']} × {built['image_size']} pixels, "
        f"{args.participants} participants (their codes: participants.csv)"
    )
    for note in built["notes"]:
        print(f"note: {note}")


def define_invite_flags() -> None:
    flags.DEFINE_string("study", None, "The study's folder.", required=True)
    flags.DEFINE_integer("count", 1, "Codes to make.", lower_bound=1)
    flags.DEFINE_string("label", "", "A word on them, such as their profession.")
    flags.DEFINE_enum("parts", "both", list(PARTS), "Which parts they answer.")


def invite(args) -> None:
    from dermgan_tf.apps.reader_study.study import read_study

    study = read_study(args.study, check_images=False)
    for code in _invite(args.study, study, args.count, args.label, PARTS[args.parts]):
        print(code)


def define_serve_flags() -> None:
    flags.DEFINE_string("study", None, "The study's folder.", required=True)
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
        "Default: one is made, and kept in STUDY/access_token.",
    )
    flags.DEFINE_string(
        "public_url",
        "",
        "What participants open, where --host does not tell it: behind a proxy, or "
        "with --host=0.0.0.0.",
    )


def serve(args) -> None:
    from dermgan_tf.errors import InputError

    try:
        from dermgan_tf.apps.reader_study.pages import ReaderStudyPages
        from dermgan_tf.apps.web import serving
        from dermgan_tf.apps.web.access import kept_token, require_token
        from dermgan_tf.apps.web.application import make_application
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise InputError(
            f'{error.name} is not installed; pip install "dermgan_tf[studio]" brings it'
        ) from None
    from dermgan_tf.apps.reader_study.store import AnswerStore
    from dermgan_tf.apps.reader_study.study import read_study, require_answers

    study = read_study(args.study)
    store = AnswerStore(require_answers(args.study), study.fingerprint)
    token = require_token(args.token) if args.token else ""
    public = not serving.is_loopback(args.host) or bool(args.public_url)
    if public and not token:
        token = kept_token(pathlib.Path(args.study) / "access_token")
    bound = serving.bind(args.host, args.port)
    address = serving.address_of(bound, args.host, token, args.public_url)
    pages = ReaderStudyPages(study, store, address.secure)
    people = len(store.participants())
    print(f"{study.title}: {len(study.questions)} questions, {people} participants")
    link = f"{address.url}/#{f'token={token}&' if token else ''}code=CODE"
    print(f"open {link} with a code of {args.study}/participants.csv for CODE")
    print("Ctrl-C stops; every answer is stored when it is given", flush=True)
    serving.serve(make_application(pages.routes(), address), bound)
    store.close()


def define_analyze_flags() -> None:
    flags.DEFINE_string("study", None, "The study's folder.", required=True)
    flags.DEFINE_string(
        "output_dir", None, "Folder to make: the report.", required=True
    )
    flags.DEFINE_integer(
        "resamples", 1000, "Of images, for the interval of κ.", lower_bound=100
    )
    flags.DEFINE_integer(
        "permutations", 9999, "Of the test against chance.", lower_bound=99
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random draws.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def analyze(args) -> None:
    from dermgan_tf.apps.reader_study import analysis
    from dermgan_tf.apps.reader_study.answers import read_answers
    from dermgan_tf.apps.reader_study.judged_sheet import judged_sheet
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.reports.reader_study import summary_lines, write_report
    from dermgan_tf.run_record import write_run_record

    started = time.monotonic()
    answers = read_answers(args.study)
    with output_folder(args.output_dir, args.overwrite, [args.study]) as folder:
        found = analysis.analyze(answers, args.resamples, args.permutations, args.seed)
        judged = judged_sheet(answers) if found["turing"] else None
        write_report(folder, found, answers.rows, judged)
        write_run_record(
            folder,
            "reader_study analyze",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=answers.study.fingerprint,
            durations={"total": time.monotonic() - started},
        )
    for line in summary_lines(found):
        print(line)
    print(f"report: {args.output_dir}/report.html")


@contextlib.contextmanager
def _pairs(args):
    """The pairs folder that real images come from; of annotations, a passing one."""
    if args.pairs:
        yield args.pairs
        return
    from dermgan_tf.apps.reader_study.pools import pairs_of_annotations

    sizes = [size for size in (64, 128, 256, 512) if size >= (args.image_size or 256)]
    with tempfile.TemporaryDirectory(prefix="reader_study_") as folder:
        pairs = pathlib.Path(folder) / "pairs"
        pairs_of_annotations(
            args.annotations,
            args.split,
            pairs,
            image_size=sizes[0] if sizes else 512,
            max_reject_fraction=args.max_reject_fraction,
            seed=args.seed,
        )
        yield pairs


def _invite(folder, study, count, label, parts) -> list[str]:
    from dermgan_tf.apps.reader_study.store import AnswerStore, append_participants
    from dermgan_tf.apps.reader_study.study import PARTICIPANTS_FILE, require_answers

    parts = tuple(part for part in parts if study.names(part))
    store = AnswerStore(require_answers(folder), study.fingerprint)
    try:
        codes = [store.invite(label, parts) for _ in range(count)]
    finally:
        store.close()
    path = pathlib.Path(folder) / PARTICIPANTS_FILE
    append_participants(path, [(code, label, parts) for code in codes])
    return codes


COMMANDS = {
    "build": (define_build_flags, build),
    "invite": (define_invite_flags, invite),
    "serve": (define_serve_flags, serve),
    "analyze": (define_analyze_flags, analyze),
}


def run() -> None:
    program.run_command(COMMANDS)


if __name__ == "__main__":
    run()
