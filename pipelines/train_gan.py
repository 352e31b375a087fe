"""Trains DermGAN on pairs; after a kill the same command goes on where it was."""

from absl import flags

from pipelines import program
from pipelines.device_flags import define_precision_flags, define_strategy_flags
from pipelines.study_flags import RATES

LOSS_WEIGHTS = {
    "reconstruction": "the mean absolute difference over the whole image",
    "condition": "the mean absolute difference inside the ROIs",
    "feature_matching": "the squared difference of discriminator features",
    "adversarial": "the adversarial loss",
    "diversity": "the likeness of two images of one map (a second forward pass)",
}


def define_flags():
    flags.DEFINE_string(
        "data_dir", None, "Folder of pairs, as from prepare_pairs.", required=True
    )
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of the run: checkpoints, weights, TensorBoard logs, sample sheets. "
        "Where it holds a run already, that run goes on.",
        required=True,
    )
    # How long, and how much.
    flags.DEFINE_integer(
        "steps",
        50_000,
        "Training step to end with, counted from the beginning of the run; raise it to "
        "train a finished run longer.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "batch_size", 4, "Pairs per step, over all devices together.", lower_bound=1
    )
    # Networks.
    flags.DEFINE_integer(
        "base_filters", 64, "Filters of the networks' first blocks.", lower_bound=1
    )
    flags.DEFINE_enum(
        "upsampling",
        "resize_conv",
        ["resize_conv", "transposed_conv"],
        "How the generator enlarges; transposed_conv shows checkerboards.",
    )
    # Losses. Defaults are DEFAULT_LOSS_WEIGHTS of dermgan_tf/dermgan.py.
    for name, meaning in LOSS_WEIGHTS.items():
        flags.DEFINE_float(
            f"{name}_weight",
            None,
            f"Weight of {meaning}; 0 switches it off. Default: the library's, which "
            "model.json records.",
            lower_bound=0,
        )
    # Optimizers.
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
        0.5,
        "Adam's decay of the first moment per step, 0 to 1.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "ema_decay",
        0.999,
        "Decay per step of the generator's averaged weights, which samples and export "
        "use; 0 for no average.",
        lower_bound=0,
        upper_bound=1,
    )
    # Reproducibility and speed.
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of initial weights, data order, augmentation and dropout.",
        lower_bound=0,
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
    # What is written, and when.
    flags.DEFINE_integer(
        "checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1
    )
    flags.DEFINE_integer(
        "keep_checkpoints",
        2,
        "Checkpoints to keep, besides the one of least validation loss; one is about "
        "0.9 GB at 256 pixels and 64 filters.",
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
        "Leave out pairs whose records are corrupt, and say which, instead of failing. "
        "To find them, every start reads and decodes all pairs once.",
    )
    flags.DEFINE_bool(
        "overwrite", False, "Delete the run that model_dir holds and start anew."
    )


def main(args):
    program.load_tensorflow()
    from dermgan_tf.errors import InputError
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.strategies import make_strategy
    from dermgan_tf.training import train_gan
    from dermgan_tf.workers import is_chief

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    stop = program.StopRequest()
    result = train_gan(
        args.data_dir,
        args.model_dir,
        steps=args.steps,
        batch_size=args.batch_size,
        base_filters=args.base_filters,
        upsampling=args.upsampling,
        loss_weights={
            name: getattr(args, f"{name}_weight")
            for name in LOSS_WEIGHTS
            if getattr(args, f"{name}_weight") is not None
        },
        **{
            name: getattr(args, name)
            for name in RATES
            if getattr(args, name) is not None
        },
        decay_steps=args.decay_steps,
        adam_beta_1=args.adam_beta_1,
        ema_decay=args.ema_decay,
        seed=args.seed,
        deterministic=args.deterministic,
        mixed_precision=args.mixed_precision,
        jit_compile=args.jit_compile,
        steps_per_execution=args.steps_per_execution,
        strategy=strategy,
        checkpoint_every=args.checkpoint_every,
        keep_checkpoints=args.keep_checkpoints,
        sample_every=args.sample_every,
        log_every=args.log_every,
        skip_corrupt_records=args.skip_corrupt_records,
        overwrite=args.overwrite,
        stop_requested=stop.requested,
        progress=program.progress,
    )
    if is_chief(strategy):
        write_run_record(
            args.model_dir,
            "train_gan",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=result.data_fingerprint,
            durations=result.seconds,
            left_out=[str(damage) for damage in result.damages],
        )
        print_summary(result)
    if result.step < result.steps:
        raise InputError(
            f"stopped by {stop.signal_name or 'another worker'} after step "
            f"{result.step} of {result.steps}, which is saved; the same command goes "
            f"on from there"
        )


def print_summary(result):
    began = f" (went on from step {result.first_step})" if result.first_step else ""
    print(f"{'steps':<24}{result.step} of {result.steps}{began}")
    for name, value in result.losses.items():
        print(f"{name:<24}{value:.4f}")
    if result.best_step is not None:
        print(
            f"{'best checkpoint':<24}of step {result.best_step}, by validation loss "
            f"(export_generator --checkpoint=best)"
        )
    if result.damages:
        lost = sum(damage.lost for damage in result.damages)
        print(f"{'corrupt records skipped':<24}{lost}")
    print(f"{'images/s':<24}{result.images_per_second:.2f}")
    print(f"{'training time':<24}{result.seconds['training']:.0f} s")
    weights = sorted(path.name for path in result.model_dir.glob("*.weights.h5"))
    print(f"{'weights':<24}{result.model_dir}: {', '.join(weights)}")
    print(f"{'samples':<24}{result.model_dir / 'samples'}")
    print(f"{'watch':<24}tensorboard --logdir={result.model_dir / 'tensorboard'}")
    print(
        f"{'next':<24}python -m pipelines.export_generator "
        f"--model_dir={result.model_dir} --output_dir=saved_models/"
        f"{result.model_dir.name}"
    )


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
