"""Trains DermGAN on pairs; after a kill the same command goes on where it was."""

from absl import flags

from pipelines.shared import program
from pipelines.shared.gan_flags import (
    define_loss_flags,
    define_run_flags,
    end_run,
    given_weights,
    option_values,
)

LOSS_WEIGHTS = {
    "reconstruction": "the mean absolute difference over the whole image",
    "condition": "the mean absolute difference inside the ROIs",
    "feature_matching": "the squared difference of discriminator features",
    "adversarial": "the adversarial loss",
    "diversity": "the likeness of two images of one map (a second forward pass)",
}


def define_flags():
    define_run_flags("prepare_pairs", "pairs", steps=50_000, base_filters=64)
    flags.DEFINE_enum(
        "upsampling",
        "resize_conv",
        ["resize_conv", "transposed_conv"],
        "How the generator enlarges; transposed_conv shows checkerboards.",
    )
    flags.DEFINE_bool(
        "condition_planes",
        False,
        "Let the networks read one plane a condition besides the map's three channels, "
        "whose codes lie close together where conditions are many.",
    )
    flags.DEFINE_float(
        "balance",
        0.0,
        "Show pairs of rare conditions and rare Fitzpatrick skin types more often: 0: "
        "each pair alike; 1: every condition, and every type, about as often as any.",
        lower_bound=0,
        upper_bound=1,
    )
    # Defaults are DEFAULT_LOSS_WEIGHTS of dermgan_tf/models/dermgan/model.py.
    define_loss_flags(LOSS_WEIGHTS)


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.dermgan.task import train_gan
    from dermgan_tf.training.strategies import make_strategy

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    stop = program.StopRequest()
    result = train_gan(
        args.data_dir,
        args.model_dir,
        **option_values(args),
        upsampling=args.upsampling,
        balance=args.balance,
        condition_planes=args.condition_planes,
        loss_weights=given_weights(args, LOSS_WEIGHTS),
        strategy=strategy,
        stop_requested=stop.requested,
        progress=program.progress,
    )
    if end_run("train_gan", args, strategy, stop, result):
        print_next(result)


def print_next(result):
    if result.best_step is not None:
        print(
            f"{'best checkpoint':<24}of step {result.best_step}, by validation loss "
            f"(export_generator --checkpoint=best)"
        )
    print(
        f"{'next':<24}python -m pipelines.export_generator "
        f"--model_dir={result.model_dir} --output_dir=saved_models/"
        f"{result.model_dir.name}"
    )


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
