"""Flags of the programs that train networks against each other."""

import dataclasses
import math
import os
from typing import Any

from absl import flags

from pipelines.shared import program
from pipelines.shared.device_flags import define_precision_flags, define_strategy_flags
from pipelines.shared.study_flags import RATES

# Of `dermgan_tf.training.run.RunOptions`, those that are flags of their name.
OPTIONS = (
    "steps",
    "batch_size",
    "base_filters",
    "decay_steps",
    "adam_beta_1",
    "ema_decay",
    "seed",
    "deterministic",
    "mixed_precision",
    "jit_compile",
    "steps_per_execution",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
    "log_every",
    "skip_corrupt_records",
    "overwrite",
)


def define_run_flags(
    program: str,
    data: str,
    steps: int,
    base_filters: int,
    batch_size: int = 4,
    adam_beta_1: float = 0.5,
) -> None:
    """Flags of a run, whatever it trains.

    Args:
        program: str. The one that prepares the data.
        data: str. What the data are called: "patches".
        steps, base_filters, batch_size, adam_beta_1: defaults.
    """
    flags.DEFINE_string(
        "data_dir", None, f"Folder of {data}, as from {program}.", required=True
    )
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of the run: checkpoints, weights, TensorBoard logs, sample sheets. "
        "Where it holds a run already, that run goes on.",
        required=True,
    )
    flags.DEFINE_integer(
        "steps",
        steps,
        "Training step to end with, counted from the beginning of the run; raise it to "
        "train a finished run longer.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "batch_size",
        batch_size,
        f"{data} per step, over all devices together.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "base_filters",
        base_filters,
        "Filters of the networks' first blocks.",
        lower_bound=1,
    )
    for name in RATES:
        flags.DEFINE_float(
            name,
            None,
            "Adam's learning rate; may change when a run goes on. Default: the "
            "library's, which model.json records.",
            lower_bound=0,
        )
    flags.DEFINE_integer(
        "decay_steps",
        None,
        "Steps at the end of the run over which the learning rates fall linearly to 0; "
        "0 for constant rates. Default: half of --steps.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "adam_beta_1",
        adam_beta_1,
        "Adam's decay of the first moment per step, 0 to 1.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "ema_decay",
        0.999,
        "Decay per step of the generators' averaged weights, which samples and export "
        "use; 0 for no average.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of weights, data order and chance.", lower_bound=0
    )
    define_precision_flags()
    define_strategy_flags()
    flags.DEFINE_bool("jit_compile", False, "Compile the training step with XLA.")
    flags.DEFINE_integer(
        "steps_per_execution",
        1,
        "Steps that run on the device in one go; about 100 on a TPU.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1
    )
    flags.DEFINE_integer(
        "keep_checkpoints",
        2,
        "Checkpoints to keep, besides the one of least validation loss where that is "
        "measured; one of train_gan is about 0.9 GB at 256 pixels and 64 filters.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "sample_every",
        500,
        "Steps between sheets of sample images; 0 for none.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "log_every",
        50,
        "Steps between logged losses, which are means over these steps, and logged "
        "learning rates and norms of gradients and updates.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "skip_corrupt_records",
        False,
        f"Leave out {data} whose records are corrupt, and say which, instead of "
        "failing. To find them, every start reads and decodes all of them once.",
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the run that model_dir holds and start anew."
    )


def define_loss_flags(meanings) -> None:
    """A flag for the weight of each loss, by name and meaning."""
    for name, meaning in meanings.items():
        flags.DEFINE_float(
            f"{name}_weight",
            None,
            f"Weight of {meaning}; 0 switches it off. Default: the library's, which "
            "model.json records.",
            lower_bound=0,
        )


def given_weights(args, names) -> dict[str, float]:
    """The weights that flags of `define_loss_flags` were given, by loss."""
    weights = {name: getattr(args, f"{name}_weight") for name in names}
    return {name: weight for name, weight in weights.items() if weight is not None}


def option_values(args) -> dict[str, Any]:
    """The flags of a run that were given or have a default, by name."""
    rates = {name: getattr(args, name) for name in RATES}
    return {
        **{name: getattr(args, name) for name in OPTIONS},
        **{name: rate for name, rate in rates.items() if rate is not None},
    }


def run_options(args, strategy, stop, progress, **defaults):
    """The flags as a `RunOptions`; `defaults` are of flags that were not given."""
    from dermgan_tf.training.run import RunOptions

    return RunOptions(
        **{**defaults, **option_values(args)},
        strategy=strategy,
        stop_requested=stop.requested,
        progress=progress,
    )


def end_run(name: str, args, strategy, stop, result) -> bool:
    """Records a training in its folder and prints what it did, on one of the workers.

    Args:
        name: str. The program's.
        strategy: the tf.distribute.Strategy that it ran under.
        stop: `program.StopRequest` of the run.
        result: `dermgan_tf.training.run.TrainingResult`.

    Returns:
        Whether this worker is the one that prints.

    Raises:
        InputError: if the run was stopped before its last step.
    """
    from dermgan_tf.errors import InputError
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.training.workers import is_chief

    speaks = is_chief(strategy)
    if speaks:
        write_run_record(
            args.model_dir,
            name,
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=result.data_fingerprint,
            durations=result.seconds,
            left_out=[_without_folder(damage) for damage in result.damages],
        )
        _print_result(result)
    if result.step < result.steps:
        raise InputError(
            f"stopped by {stop.signal_name or 'another worker'} after step "
            f"{result.step} of {result.steps}, which is saved; the same command goes "
            f"on from there"
        )
    return speaks


def _without_folder(damage) -> str:
    """A `Damage` as text that names the shard, not where it lies."""
    return str(dataclasses.replace(damage, path=os.path.basename(damage.path)))


def _print_result(result) -> None:
    """What a training did, as lines of two columns."""
    began = f" (went on from step {result.first_step})" if result.first_step else ""
    print(f"{'steps':<24}{result.step} of {result.steps}{began}")
    for name, value in result.losses.items():
        print(f"{name:<24}{value:.4f}")
    if result.damages:
        lost = sum(damage.lost for damage in result.damages)
        print(f"{'corrupt records skipped':<24}{lost}")
    if not math.isnan(result.images_per_second):
        print(f"{'images/s':<24}{result.images_per_second:.2f}")
    print(f"{'training time':<24}{result.seconds['training']:.0f} s")
    weights = sorted(path.name for path in result.model_dir.glob("*.weights.h5"))
    print(f"{'weights':<24}{result.model_dir}: {', '.join(weights)}")
    print(f"{'samples':<24}{result.model_dir / 'samples'}")
    print(f"{'watch':<24}tensorboard --logdir={result.model_dir / 'tensorboard'}")
