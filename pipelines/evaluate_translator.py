"""Judges an exported translator on held-out patches: metrics.json and sheets.

How much changed outside the masks and inside, how far the outcome is from real patches
of the wanted kind, from the true twins of drawn scenes, and, with a classifier and the
inverse translator, whether it is taken for the wanted kind and can be undone.
"""

import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.study_flags import define_evaluation_flags


def define_flags() -> None:
    define_evaluation_flags(
        "export_translator",
        "patches that prepare_patches made",
        "patches are translated and compared with",
    )
    flags.DEFINE_string(
        "inverse_saved_model",
        None,
        "The other direction of a CycleGAN, as export_translator made it: how well one "
        "undoes the other.",
    )
    flags.DEFINE_string(
        "classifier",
        None,
        "Folder that train_classifier made, of the training split of the patches "
        "(train_classifier --data_dir): what it takes translated patches for.",
    )


def main(args) -> None:
    program.load_tensorflow()
    from dermgan_tf.classifier.served import load_classifier
    from dermgan_tf.judging.translation import evaluate_translator
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.models.translation.served import load_translator
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.reports.translation import (
        summary_lines,
        write_translator_evaluation,
    )
    from dermgan_tf.run_record import write_run_record

    started = time.monotonic()
    given = (
        *(args.saved_model, args.data_dir),
        *(args.inverse_saved_model, args.classifier),
    )
    inputs = [path for path in given if path]
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        translator = load_translator(args.saved_model)
        inverse = classifier = None
        if args.inverse_saved_model:
            inverse = load_translator(args.inverse_saved_model)
        if args.classifier:
            classifier = load_classifier(args.classifier)
        evaluation = evaluate_translator(
            translator,
            args.data_dir,
            build_embedding(args.embedding, args.embedding_weights),
            split=args.split,
            inverse=inverse,
            classifier=classifier,
            trials=args.trials,
            max_images=args.max_images,
            seed=args.seed,
            progress=program.progress,
        )
        write_translator_evaluation(
            folder, evaluation.metrics, evaluation.sheets, translator.provenance()
        )
        write_run_record(
            folder,
            "evaluate_translator",
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
