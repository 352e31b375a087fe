"""Judges images painted from noise against held-out photographs: metrics.json, sheets.

Distances between synthetic and real images stand beside those between real and real,
with the embedding's name, the number of images and an interval.
"""

import json
import pathlib
import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.study_flags import define_evaluation_flags, define_memory_flags


def define_flags() -> None:
    define_evaluation_flags(
        "export_unconditional",
        "pairs or patches to judge by",
        "photographs are compared with",
    )
    flags.DEFINE_enum(
        "domain", None, ["healthy", "pathology"], "Which patches, where it is patches."
    )
    flags.DEFINE_string(
        "train_data_dir",
        None,
        "Folder that the generator was trained on, where that is not --data_dir.",
    )
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of the run that the generator is of: tells whether its discriminator "
        "knows the training photographs by heart.",
    )
    flags.DEFINE_float(
        "truncation", 1.0, "Of the images, 0 to 1.", lower_bound=0, upper_bound=1
    )
    define_memory_flags(500, "Images that memory is judged by, at most.")


def main(args) -> None:
    program.load_tensorflow()
    from dermgan_tf.judging.unconditional import (
        evaluate_unconditional,
        summary_lines,
    )
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.models.unconditional.runs import (
        load_run_discriminator,
        require_same_run,
    )
    from dermgan_tf.models.unconditional.served import load_unconditional
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.photos.photo_io import encode_png
    from dermgan_tf.run_record import write_run_record

    started = time.monotonic()
    given = (args.saved_model, args.data_dir, args.train_data_dir, args.model_dir)
    inputs = [path for path in given if path]
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        generator = load_unconditional(args.saved_model)
        discriminator = None
        if args.model_dir:
            discriminator, run_of = load_run_discriminator(args.model_dir)
            require_same_run(generator, run_of, args.model_dir)
        evaluation = evaluate_unconditional(
            generator,
            args.data_dir,
            build_embedding(args.embedding, args.embedding_weights),
            split=args.split,
            domain=args.domain,
            train_data_dir=args.train_data_dir,
            truncation=args.truncation,
            trials=args.trials,
            max_images=args.max_images,
            max_train_images=args.max_train_images,
            max_scenes=args.scenes,
            seed=args.seed,
            discriminator=discriminator,
            progress=program.progress,
        )
        text = json.dumps(evaluation.metrics, indent=2, ensure_ascii=False) + "\n"
        pathlib.Path(folder, "metrics.json").write_text(text, "utf-8")
        for name, sheet in evaluation.sheets.items():
            data = encode_png(sheet, generator.provenance(sheet=name))
            pathlib.Path(folder, f"{name}.png").write_bytes(data)
        write_run_record(
            folder,
            "evaluate_unconditional",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=evaluation.metrics["data"]["fingerprint"],
            durations={"total": time.monotonic() - started},
        )
    for line in summary_lines(evaluation.metrics):
        print(line)
    print(f"metrics and sheets: {args.output_dir}")


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
