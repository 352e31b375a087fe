"""Searches loss weights and learning rates for the least distance on validation maps.

Each of the six flags below takes one value, which is fixed, or several, which are
tried. After a kill the same command goes on where it was. OUTPUT_DIR gets results.csv,
best.json with the command to train with the best values, tensorboard/ (HParams page)
and trials/. The test split is never read.
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

SHOWN = 5


def define_flags() -> None:
    flags.DEFINE_list(
        "data_dir",
        None,
        "Folder of pairs that prepare_pairs made, with a validation split; or several: "
        "each trial then trains on each, and the mean of the logarithms of their "
        "distances is minimised.",
        required=True,
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the search. Where it holds one already, that goes on.",
        required=True,
    )
    for name, meaning in LOSS_WEIGHTS.items():
        flags.DEFINE_list(
            f"{name}_weight",
            None,
            f"Weights to try of {meaning}, separated by commas. Default: the library's "
            "own, fixed.",
        )
    for name in RATES:
        flags.DEFINE_list(
            name,
            None,
            "Adam's learning rates to try, separated by commas. Default: the library's "
            "own, fixed.",
        )
    flags.DEFINE_enum(
        "search",
        "grid",
        ["grid", "random"],
        "Try all combinations, in order, or random ones of them. With fewer trials "
        "than combinations take random: a grid's first ones are all alike.",
    )
    flags.DEFINE_integer(
        "max_trials",
        None,
        "The most trials; a random search needs it. May grow when a search goes on.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "objective",
        "kernel",
        ["kernel", "frechet"],
        "The distance to minimise. The kernel distance is unbiased; the Fréchet "
        "distance of few images is too large, alike for all trials.",
    )
    flags.DEFINE_integer(
        "seeds",
        1,
        "Runs of each trial, with the seeds 0, 1, …; their mean counts.",
        lower_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random search.", lower_bound=0)
    define_training_flags()
    define_judging_flags()
    flags.DEFINE_bool(
        "overwrite", False, "Delete the search that output_dir holds and start anew."
    )


def main(args) -> None:
    names = (*(f"{name}_weight" for name in LOSS_WEIGHTS), *RATES)
    given = {name: numbers(args, name) for name in names}
    program.load_tensorflow()
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.models.dermgan.model import (
        DEFAULT_LEARNING_RATES,
        DEFAULT_LOSS_WEIGHTS,
    )
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.studies.tuning import run_tuning

    started = time.monotonic()
    fixed = {f"{name}_weight": [w] for name, w in DEFAULT_LOSS_WEIGHTS.items()}
    fixed |= {
        f"{name}_learning_rate": [r] for name, r in DEFAULT_LEARNING_RATES.items()
    }
    space = {name: values or fixed[name] for name, values in given.items()}
    best = run_tuning(
        args.data_dir,
        args.output_dir,
        build_embedding(args.embedding, args.embedding_weights),
        space,
        training={name: getattr(args, name) for name in SHARED},
        objective=args.objective,
        search=args.search,
        max_trials=args.max_trials,
        seeds=args.seeds,
        seed=args.seed,
        trials=args.trials,
        max_images=args.max_images,
        overwrite=args.overwrite,
        stop_requested=program.StopRequest().requested,
        announce=announce,
        progress=program.progress,
    )
    write_run_record(
        args.output_dir,
        "tune",
        program.flag_values(args),
        seed=args.seed,
        data_fingerprint=" ".join(best["data_fingerprints"]),
        durations={"total": time.monotonic() - started},
    )
    print_best(best, args.output_dir)


def numbers(args, name: str) -> list[float]:
    from dermgan_tf.errors import InputError

    given = getattr(args, name) or []
    try:
        return [float(value) for value in given]
    except ValueError:
        raise InputError(f"--{name} wants numbers, got {','.join(given)}") from None


def print_best(best, output_dir: str) -> None:
    for result in best["results"][:SHOWN]:
        values = ", ".join(
            f"{name} {value:g}" for name, value in result["hyperparameters"].items()
        )
        shown = "diverged" if result["objective"] is None else result["objective"]
        print(f"trial {result['trial']}: {shown}; {values}")
    for remark in best["remarks"]:
        print(f"note: {remark}")
    for command in best["commands"]:
        print(command)
    print(f"all {best['trials']} trials: {output_dir}/results.csv")


def run() -> None:
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
