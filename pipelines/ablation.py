"""Trains DermGAN and its three reduced models, and writes the paper's Table 1 anew.

All models get the same pairs, steps, batches and seeds. After a kill the same command
goes on where it was; more seeds or models may be asked for later. OUTPUT_DIR gets
metrics.json, table.csv, runs.csv, held_out_maps.png, report.html and runs/.
"""

import time

from absl import flags

from pipelines.shared import program
from pipelines.shared.study_flags import (
    RATES,
    SHARED,
    announce,
    define_judging_flags,
    define_training_flags,
)
from pipelines.train_gan import LOSS_WEIGHTS


def define_flags() -> None:
    flags.DEFINE_string(
        "data_dir", None, "Folder of pairs that prepare_pairs made.", required=True
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the ablation. Where it holds one already, that goes on.",
        required=True,
    )
    flags.DEFINE_list(
        "models",
        ["full", "transposed_conv", "no_condition_loss", "no_feature_matching"],
        "Models to train, of these four and diversity_loss, which the paper lacks.",
    )
    flags.DEFINE_integer(
        "seeds", 3, "Runs of each model, with the seeds 0, 1, …", lower_bound=1
    )
    define_training_flags()
    for name, meaning in LOSS_WEIGHTS.items():
        flags.DEFINE_float(
            f"{name}_weight",
            None,
            f"The full model's weight of {meaning}. Default: the library's, which "
            "ablation.json records.",
            lower_bound=0,
        )
    for name in RATES:
        flags.DEFINE_float(
            name,
            None,
            "Adam's learning rate. Default: the library's, as ablation.json records.",
            lower_bound=0,
        )
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "The split whose maps are painted and whose images are compared with.",
    )
    define_judging_flags()
    flags.DEFINE_bool(
        "keep_checkpoints",
        False,
        "Keep the checkpoints of finished runs, about 0.9 GB each at 256 pixels and "
        "64 filters; the weights stay in any case.",
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the ablation that output_dir holds and start anew."
    )


def main(args) -> None:
    program.load_tensorflow()
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.studies.ablation import run_ablation

    started = time.monotonic()
    weights = {name: getattr(args, f"{name}_weight") for name in LOSS_WEIGHTS}
    metrics = run_ablation(
        args.data_dir,
        args.output_dir,
        build_embedding(args.embedding, args.embedding_weights),
        training={
            **{name: getattr(args, name) for name in SHARED},
            **{
                name: getattr(args, name)
                for name in RATES
                if getattr(args, name) is not None
            },
            "loss_weights": {n: w for n, w in weights.items() if w is not None},
        },
        models=args.models,
        seeds=args.seeds,
        split=args.split,
        trials=args.trials,
        max_images=args.max_images,
        keep_checkpoints=args.keep_checkpoints,
        overwrite=args.overwrite,
        stop_requested=program.StopRequest().requested,
        announce=announce,
        progress=program.progress,
    )
    write_run_record(
        args.output_dir,
        "ablation",
        program.flag_values(args),
        data_fingerprint=metrics["data"]["fingerprint"],
        durations={"total": time.monotonic() - started},
    )
    print_table(metrics)
    print(f"report: {args.output_dir}/report.html")


def print_table(metrics) -> None:
    from dermgan_tf.reports.page import format_interval, format_number

    real = metrics["real_real"]["frechet_trials"]
    print(f"embedding: {metrics['embedding']['name']}, {real['sample_size']} images")
    print(f"{'Fréchet distance, real against real':<52}{format_number(real['mean'])}")
    for row in metrics["models"]:
        spread = row["over_seeds"]["frechet"]
        line = f"{'Fréchet distance, ' + row['label']:<52}"
        line += format_number(spread["mean"])
        if spread["interval_95"]:
            line += (
                f" (95 % over {spread['seeds']} seeds: "
                f"{format_interval(spread['interval_95'])})"
            )
        if row["minus_full"]:
            difference = row["minus_full"]["frechet"]
            line += f"; minus DermGAN {format_number(difference['mean'])}"
            if difference["interval_95"]:
                line += f" ({format_interval(difference['interval_95'])})"
        print(line)


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
