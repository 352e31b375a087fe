"""Judges an exported generator on held-out maps: metrics.json, report.html, figures.

Distances between synthetic and real images stand beside those between real and real,
with the embedding's name, the number of images and an interval.
"""

import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.study_flags import define_evaluation_flags, define_memory_flags


def define_flags() -> None:
    define_evaluation_flags(
        "export_generator",
        "pairs that prepare_pairs made",
        "maps are painted and whose images are compared with",
    )
    define_memory_flags(
        100,
        "Held-out scenes that are painted on six skin types, and with their box moved "
        "and scaled.",
    )
    flags.DEFINE_integer(
        "judge_steps",
        600,
        "Training steps of the classifier that judges conditions.",
        lower_bound=1,
    )


def main(args) -> None:
    program.load_tensorflow()
    from dermgan_tf.judging.dermgan import evaluate
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.models.dermgan.served import load_generator
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.reports.evaluation import summary_lines, write_evaluation
    from dermgan_tf.run_record import write_run_record

    started = time.monotonic()
    inputs = [args.saved_model, args.data_dir]
    with output_folder(args.output_dir, args.overwrite, inputs) as folder:
        evaluation = evaluate(
            load_generator(args.saved_model),
            args.data_dir,
            build_embedding(args.embedding, args.embedding_weights),
            split=args.split,
            trials=args.trials,
            max_images=args.max_images,
            max_train_images=args.max_train_images,
            max_scenes=args.scenes,
            judge_steps=args.judge_steps,
            seed=args.seed,
            progress=program.progress,
        )
        write_evaluation(folder, evaluation.metrics, evaluation.sheets)
        write_run_record(
            folder,
            "evaluate_gan",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=evaluation.metrics["data"]["fingerprint"],
            durations={"total": time.monotonic() - started},
        )
    for line in summary_lines(evaluation.metrics):
        print(line)
    print(f"report: {args.output_dir}/report.html")


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
