"""Trains networks to add pathology to photographs or to remove it.

One direction with --direction=add or remove, where a mask says where; both at once,
each checking the other, with --unpaired (CycleGAN). After a kill the same command goes
on where it was.
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
    "adversarial": "the adversarial loss",
    "relevancy": "the squared difference outside the mask (--direction)",
    "cycle": "the mean absolute difference after both directions (--unpaired)",
    "cycle_inside": "the same difference inside the pathology (--unpaired)",
    "identity": "the difference where the photo is of the wanted domain already",
    "identity_inside": "the same difference inside the mask (--direction)",
    "total_variation": "the difference of neighbouring pixels",
}


def define_flags():
    define_run_flags("prepare_patches", "patches", steps=20_000, base_filters=32)
    flags.DEFINE_enum(
        "direction", None, ["add", "remove"], "What to learn, inside masks."
    )
    flags.DEFINE_bool("unpaired", False, "Learn both directions at once: CycleGAN.")
    flags.register_multi_flags_validator(
        ["direction", "unpaired"],
        lambda values: bool(values["direction"]) != values["unpaired"],
        "give either --direction=add|remove or --unpaired",
    )
    flags.DEFINE_enum(
        "architecture", "resnet", ["resnet", "unet"], "What the generators are."
    )
    flags.DEFINE_bool(
        "compose",
        True,
        "Take what is painted inside the mask only, with a soft border: the photo "
        "outside stays to the bit. Without, only a loss asks for that.",
    )
    flags.DEFINE_bool(
        "hide_masked",
        None,
        "Do not show the generator what is inside the mask: it then learns to paint "
        "that of photos of the wanted domain too. Default: with --direction.",
    )
    flags.register_multi_flags_validator(
        ["hide_masked", "unpaired"],
        lambda values: not (values["hide_masked"] and values["unpaired"]),
        "--hide_masked is for --direction: what a cycle cannot see, it cannot restore",
    )
    flags.DEFINE_bool(
        "use_masks", True, "Whether the networks of --unpaired read masks."
    )
    flags.DEFINE_integer(
        "pool_size",
        50,
        "Past images of each domain that --unpaired shows its discriminators.",
        lower_bound=0,
    )
    # Defaults are DEFAULT_LOSS_WEIGHTS of dermgan_tf/models/translation/model.py and
    # cyclegan.py, and the former's HIDDEN_IDENTITY_INSIDE.
    define_loss_flags(LOSS_WEIGHTS)


def main(args):
    program.load_tensorflow()
    from dermgan_tf.models.translation.task import (
        train_cyclegan,
        train_lesion_translation,
    )
    from dermgan_tf.training.strategies import make_strategy

    strategy = make_strategy(args.strategy, args.tpu, args.wait_for_workers)
    stop = program.StopRequest()
    common = {
        "architecture": args.architecture,
        "compose": args.compose,
        "loss_weights": given_weights(args, LOSS_WEIGHTS),
    }
    options = run_options(args, strategy, stop, program.progress)
    if args.unpaired:
        result = train_cyclegan(
            args.data_dir,
            args.model_dir,
            options,
            use_masks=args.use_masks,
            pool_size=args.pool_size,
            **common,
        )
    else:
        result = train_lesion_translation(
            args.data_dir,
            args.model_dir,
            options,
            direction=args.direction,
            hide_masked=args.hide_masked is not False,
            **common,
        )
    end_run("train_lesion_translation", args, strategy, stop, result)


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
