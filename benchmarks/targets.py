"""What the measurements are held against, and how ratios are taken."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import flops


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Target:
    """A ratio to reach.

    Args:
        task: of the groups that it holds for.
        dtype: likewise; None is for all.
        name: the contender whose figure is divided …
        peer: … by this one's. Of several kinds (PyTorch's ways to infer, our settings)
            the fastest.
        bound: float.
        measure: "values", of which at least `bound` is wanted, or "peak_memory", at
            most.
    """

    task: str
    dtype: str | None
    name: str
    peer: str
    bound: float
    measure: str = "values"


TARGETS = (
    Target("training", "float32", "ours", "pytorch", 1.25),
    Target("training", "float32", "ours", "limit", 0.9),
    Target("training", "bfloat16", "ours", "pytorch", 1.5),
    Target("training", "bfloat16", "ours", "limit", 0.8),
    Target("training", None, "ours", "pytorch", 1.25, "peak_memory"),
    Target("inference", "float32", "ours", "pytorch", 1.0),
    Target("inference", "bfloat16", "ours", "pytorch", 1.7),
    Target("fit", None, "fit", "step", 0.97),
    Target("loading", None, "ours", "bare", 0.7),
    Target("frechet", None, "ours", "tfgan", 5.0),
)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """The ratio by round: what disturbed a round disturbed both."""
    pairs = zip(numerator, denominator, strict=True)
    return spread([a / b for a, b in pairs])


def fastest(contenders: Mapping, kind: str) -> str | None:
    """The contender of a kind with the highest median; None where there is none."""
    return max(
        (n for n in contenders if n == kind or n.startswith(f"{kind}_")),
        key=lambda name: statistics.median(contenders[name]["values"]),
        default=None,
    )


def with_limit(group: Mapping) -> dict:
    """The group with its matrix products replaced by the limit that they set.

    Its values are the images per second if the networks' convolutions were computed at
    the rate of the fastest library's matrix products, measured in the same rounds.
    """
    contenders = {
        name: contender
        for name, contender in group["contenders"].items()
        if not name.startswith("multiply_")
    }
    library = fastest(group["contenders"], "multiply")
    if library:
        count = {"training": flops.training_flops, "inference": flops.inference_flops}
        case = group["case"]
        needed = count[group["task"]](case["image_size"], case["base_filters"])
        gigaflops = group["contenders"][library]["values"]
        contenders["limit"] = {"values": [v * 1e9 / needed for v in gigaflops]}
    return {**group, "contenders": contenders}


def against(target: Target, group: Mapping) -> tuple[str, str, Spread] | None:
    """How a group, as from `with_limit`, stands to a target.

    Returns:
        (our name, the peer's, ratio), or None where the target is not for this group or
        its contenders were not measured.
    """
    contenders = group["contenders"]
    if group["task"] != target.task:
        return None
    if target.dtype not in (None, group["case"].get("dtype")):
        return None
    name, peer = (fastest(contenders, kind) for kind in (target.name, target.peer))
    if name is None or peer is None:
        return None
    ours, theirs = contenders[name], contenders[peer]
    if target.measure == "values":
        return name, peer, ratio(ours["values"], theirs["values"])
    return name, peer, spread([ours[target.measure] / theirs[target.measure]])


def is_met(target: Target, value: Spread) -> bool:
    if target.measure == "values":
        return value.median >= target.bound
    return value.median <= target.bound
