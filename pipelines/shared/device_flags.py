"""Flags of the programs that train: where it runs and in what numbers."""

from absl import flags


def define_strategy_flags() -> None:
    """Of the programs that train on several devices or machines."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
        "Where to train: one device, all GPUs of this machine (mirrored), the machines "
        "that TF_CONFIG lists (multi_worker), or a TPU. auto takes what there is.",
    )
    flags.DEFINE_string("tpu", None, "Name or address of the TPU; local on a TPU VM.")
    flags.DEFINE_float(
        "wait_for_workers",
        600,
        "Seconds to wait for the other machines of TF_CONFIG to come up.",
        lower_bound=0,
    )


def define_precision_flags() -> None:
    flags.DEFINE_enum(
        "mixed_precision",
        "none",
        ["none", "bfloat16", "float16"],
        "Number format of the computations in training; weights stay float32, and what "
        "is exported computes in float32.",
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Use reproducible operations only, slower on GPUs: what was killed and goes on "
        "ends with the very numbers of what was not.",
    )
