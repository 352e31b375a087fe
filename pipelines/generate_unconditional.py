"""Paints photographs from noise: single images, film strips, nearest photographs.

Images are files of their own with their provenance, and generated.jsonl lists them;
sheet.png shows the first of them.
"""

import json
import pathlib
import time

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_string(
        "saved_model", None, "Folder that export_unconditional made.", required=True
    )
    flags.DEFINE_string("output_dir", None, "Folder to make.", required=True)
    flags.DEFINE_integer("count", 32, "Images to paint.", lower_bound=1)
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the first image; it counts up from there. The same seed gives the "
        "same image.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    flags.DEFINE_float(
        "truncation",
        1.0,
        "0 to 1: below 1 images are more alike, and more like what was seen most in "
        "training; with 0 all are one.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_integer(
        "strips",
        0,
        "Also paint strips.png, of so many rows, each from one seed to the next.",
        lower_bound=0,
    )
    flags.DEFINE_integer("frames", 8, "Images of a row of strips.png.", lower_bound=2)
    flags.DEFINE_string(
        "train_data_dir",
        None,
        "Folder of pairs or patches that it was trained on: also paint nearest.png, "
        "the first 16 images beside the photographs nearest to them in its train "
        "split.",
    )
    flags.DEFINE_enum(
        "domain",
        None,
        ["healthy", "pathology"],
        "Which patches, where --train_data_dir is patches.",
    )
    flags.DEFINE_string(
        "embedding",
        "pixels",
        "What --train_data_dir is measured in: pixels (of 32 × 32, needs no weights), "
        "inception_v3, mobilenet_v2, tfgan, or the path of a .keras model.",
    )
    flags.DEFINE_string(
        "embedding_weights",
        None,
        "Weights file (.weights.h5, without top) for inception_v3 or mobilenet_v2. "
        "Default: the published weights, which are downloaded on first use.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    program.load_tensorflow()
    from dermgan_tf.generation.seeds import (
        film_strips,
        seeds_from,
        seeds_sheet,
        write_seeds,
    )
    from dermgan_tf.models.unconditional.served import load_unconditional
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.photos.photo_io import encode_png
    from dermgan_tf.run_record import write_run_record

    start = time.monotonic()
    generator = load_unconditional(args.saved_model)
    seeds = seeds_from(args.seed, max(args.count, args.strips + 1))
    inputs = [path for path in (args.saved_model, args.train_data_dir) if path]
    shown = min(args.count, 64)
    sheets = {"sheet": lambda: seeds_sheet(generator, seeds[:shown], args.truncation)}
    if args.strips:
        sheets["strips"] = lambda: film_strips(
            generator, seeds[: args.strips + 1], args.frames, args.truncation
        )
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        loaded = time.monotonic()
        written = write_seeds(
            generator, seeds[: args.count], folder, args.truncation, program.progress
        )
        painting = time.monotonic() - loaded
        if args.train_data_dir:
            sheet, found = nearest(args, generator, seeds[: min(args.count, 16)])
            sheets["nearest"] = lambda: sheet
            text = json.dumps(found, indent=2) + "\n"
            pathlib.Path(folder, "nearest.json").write_text(text, "utf-8")
        for name, paint in sheets.items():
            text = generator.provenance(sheet=name, truncation=args.truncation)
            data = encode_png(paint(), text)
            pathlib.Path(folder, f"{name}.png").write_bytes(data)
        write_run_record(
            folder,
            "generate_unconditional",
            {**program.flag_values(args), "generator": generator.fingerprint},
            seed=args.seed,
            data_fingerprint=generator.metadata["provenance"].get("data_fingerprint"),
            durations={"load": loaded - start, "paint": painting},
        )
    print(
        f"{args.output_dir}: {written} synthetic images and "
        f"{', '.join(f'{name}.png' for name in sheets)} in {painting:.1f} s "
        f"({written / painting:.1f} images/s), generator {generator.fingerprint[:8]}"
    )


def nearest(args, generator, seeds):
    """The sheet of photographs nearest to images, and what was found."""
    from dermgan_tf.judging.unconditional import nearest_sheet
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.pairs.photographs import read_photographs, read_photographs_info

    read_photographs_info(args.train_data_dir, args.domain)  # says what is wrong first

    def photographs():
        found = read_photographs(args.train_data_dir, "train", domain=args.domain)
        return (photograph["image"] for photograph in found)

    return nearest_sheet(
        generator,
        seeds,
        photographs,
        build_embedding(args.embedding, args.embedding_weights),
        args.truncation,
        progress=program.progress,
    )


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
