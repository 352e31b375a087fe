"""Trains a network that paints photographs from noise alone.

Of pairs the photographs are learnt, of patches those of one domain. After a kill the
same command goes on where it was.
"""

from absl import flags

from pipelines.shared import program
from pipelines.shared.gan_flags import (
    define_loss_flags,
    define_run_flags,
    end_run,
    given_weights,
    run_options,
)

LOSS_WEIGHTS = {
    "r1": "the penalty on the discriminator's gradient, γ; more where images are few "
    "or training is not stable. By default 0.0002 · pixels / batch size"
}


def define_flags():
    define_run_flags(
        "prepare_pairs or prepare_patches",
        "photographs",
        steps=50_000,
        base_filters=32,
        batch_size=16,
        adam_beta_1=0.0,
    )
    flags.DEFINE_enum(
        "domain", None, ["healthy", "pathology"], "Which patches, where it is patches."
    )
    flags.DEFINE_bool(
        "adaptive_augmentation",
        True,
        "Show the discriminator all images through random changes, as often as its "
        "overfitting asks for; for fewer than about 5,000 photographs.",
    )
    flags.DEFINE_integer(
        "adaptation_images",
        100_000,
        "Training images in which the changes' probability can go from 0 to 1.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "augmentation_target",
        0.6,
        "The changes come more often where the mean sign of the discriminator's logits "
        "on training images (real_sign) is above this, else less often; -1 to 1. Lower "
        "it where evaluate_unconditional --model_dir says that photographs are known "
        "by heart.",
        upper_bound=1,
    )
    define_loss_flags(LOSS_WEIGHTS)


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.unconditional.task import (
        LEARNING_RATE,
        train_unconditional,
    )
    from dermgan_tf.training.model import PLAYERS
    from dermgan_tf.training.strategies import make_strategy

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    stop = program.StopRequest()
    result = train_unconditional(
        args.data_dir,
        args.model_dir,
        run_options(
            *(args, strategy, stop, program.progress),
            **{f"{player}_learning_rate": LEARNING_RATE for player in PLAYERS},
        ),
        domain=args.domain,
        adaptive_augmentation=args.adaptive_augmentation,
        adaptation_images=args.adaptation_images,
        augmentation_target=args.augmentation_target,
        loss_weights=given_weights(args, LOSS_WEIGHTS),
    )
    end_run("train_unconditional", args, strategy, stop, result)


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
