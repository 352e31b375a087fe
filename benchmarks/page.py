"""BENCHMARKS.md, from the results and from remarks.md."""

import json
import math
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import flops
from benchmarks.targets import (
    TARGETS,
    Spread,
    against,
    is_met,
    ratio,
    spread,
    with_limit,
)

FOLDER = pathlib.Path(__file__).parent
REMARKS = FOLDER / "remarks.md"  # written by hand
ACCELERATOR = FOLDER / "accelerator.json"  # from benchmarks/accelerator.py

DISTURBING = 0.05  # share of the processor taken by others that is told of

# Task -> heading, what was done.
SECTIONS = {
    "training": (
        "Training step",
        "One update of both networks, on a batch in memory. PyTorch and Keras train "
        "pix2pix as the paper and TensorFlow's tutorial have it: batch norm, one "
        "reconstruction loss. dermgan_tf trains DermGAN: group norm, noise, feature "
        "matching, the condition's loss and a moving average of the weights besides.",
    ),
    "inference": (
        "Painting with the exported generator",
        "dermgan_tf: the SavedModel's `serving_default`, loaded with plain TensorFlow, "
        "uint8 in and out. PyTorch: under `inference_mode` in evaluation mode, bf16 by "
        "autocast; with its weights turned to bf16 once; and traced, norms folded and "
        "frozen as TorchScript.",
    ),
    "forms": (
        "Training step by form of ResizeConv2D",
        "All layers of the decoder in one form; “dermgan_tf” picks one a layer.",
    ),
    "layers": (
        "What a training step's time goes into",
        "Each layer of dermgan_tf by itself, at its size in the networks, with all "
        "passes that a step makes through it: forward and backward once in the "
        "generator, twice and once more back to the image in the discriminator. GFLOP: "
        "counted as for the limit. “Rate”: GFLOP per second ÷ that of a large matrix "
        "product measured in the same rounds; winograd computes fewer products than "
        "are counted. Layers under 1 % of the step are summed up. The sum need not be "
        "the whole step's time, in which some are joined and others wait for memory.",
    ),
    "fit": ("`fit` with pairs from disk", "Phantom pairs, shuffled and augmented."),
    "loading": (
        "Loading pairs",
        "Pairs from disk as training gets them; bare: decoding the same images alone.",
    ),
    "preparing": (
        "Preparing pairs",
        "From photographs on disk in one process. Bare: decode a photo, resize and "
        "encode each crop, nothing else: no map, no skin, no choice of the window.",
    ),
    "phantoms": ("Drawing phantoms", "480 × 640 pixels, on one core."),
    "frechet": ("Fréchet distance", "The same activations, from memory."),
}
LABELS = {
    "ours": "dermgan_tf",
    "limit": "limit of the machine",
    "ours_one_thread_an_operation": "dermgan_tf, one thread an operation",
    "pytorch": "PyTorch",
    "pytorch_half": "PyTorch, bf16 weights",
    "pytorch_frozen": "PyTorch, frozen TorchScript",
    "keras_transposed": "Keras, transposed convolution",
    "keras_resize": "Keras, resize + 3 × 3 convolution",
    "fit": "`fit`, pairs from disk",
    "step": "bare step",
    "bare": "the bare work",
    "tfgan": "TF-GAN",
    "values": "speed",
    "peak_memory": "peak memory",
    "float32": "fp32",
    "bfloat16": "bf16",
}


def render(
    environment: Mapping,
    groups: Sequence[Mapping],
    accelerator: pathlib.Path = ACCELERATOR,
    remarks: pathlib.Path = REMARKS,
) -> str:
    """Renders the page.

    Args:
        environment: as from `describe_machine`.
        groups: as in the results file.
        accelerator: file of benchmarks/accelerator.py; need not exist.
        remarks: Markdown for the end; need not exist.

    Returns:
        Markdown.
    """
    groups = [
        group if group["task"] == "layers" else with_limit(group) for group in groups
    ]
    parts = ["# Benchmarks", _introduction(environment, groups), _targets(groups)]
    for task, (heading, text) in SECTIONS.items():
        chosen = [group for group in groups if group["task"] == task]
        if chosen and task == "layers":
            parts += [f"## {heading}", text, *map(_layers, chosen)]
        elif chosen:
            parts += [f"## {heading}", text, _disturbance(chosen), *_tables(chosen)]
    parts += ["## Accelerator", _accelerator(accelerator)]
    if remarks.exists():
        parts.append(remarks.read_text("utf-8").strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def summarize(group: Mapping) -> str:
    """One group as lines of text, for the terminal."""
    if group["task"] == "layers":
        return _layers(group)
    group = with_limit(group)
    first = next(iter(group["contenders"].values()))["values"]
    lines = [f"{group['task']}, {_case(group)}, {group['unit']}; first ÷ each"]
    for name, contender in group["contenders"].items():
        values = contender["values"]
        line = f"  {_label(name):<36}{_significant(spread(values)):>24}"
        line += f"{_ratio(ratio(first, values)):>22}"
        if "peak_memory" in contender:
            line += f"{_mebibytes(contender['peak_memory']):>8} MiB"
        lines.append(line)
    if disturbance := _disturbance([group]):
        lines.append(f"  {disturbance}")
    return "\n".join(lines)


def _disturbance(groups: Sequence[Mapping]) -> str:
    """Tells what other processes took of the machine, if it was enough to matter."""
    loads = [
        load
        for group in groups
        for contender in group["contenders"].values()
        for load in contender.get("foreign_load", ())
    ]
    disturbed = [load for load in loads if load > DISTURBING]
    if not disturbed:
        return ""
    return (
        f"Disturbed: in {len(disturbed)} of {len(loads)} slices other processes took "
        f"over {DISTURBING:.0%} of the processor, at most {max(disturbed):.0%}."
    )


def _introduction(environment: Mapping, groups: Sequence[Mapping]) -> str:
    dates = sorted({group["date"] for group in groups})
    commands = list(dict.fromkeys(group["command"] for group in groups))
    per_image = ", ".join(
        f"{flops.training_flops(256, base) / 1e9:.1f} and "
        f"{flops.inference_flops(256, base) / 1e9:.1f} at base {base}"
        for base in (64, 32)
    )
    machine = ", ".join(
        f"{environment[name]}{suffix}"
        for name, suffix in (
            ("processor", ""),
            ("cores", " cores"),
            ("memory", " of memory"),
            ("system", ""),
        )
    )
    versions = ", ".join(
        f"{name} {environment[name]}"
        for name in environment
        if name not in ("processor", "cores", "memory", "system")
    )
    return f"""\
`make benchmark` measures all of this anew and writes this page; hand-written remarks
are at its end.

| | |
|---|---|
| machine | {machine} |
| versions | {versions} |
| measured | {" to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "–"} |
| by | {"<br>".join(f"`{command}`" for command in commands)} |

Contenders run in turn, each in a process of its own that waits while the others work,
in slices of some seconds over several rounds. A ratio is taken round by round; shown
are the median and, in brackets, the lowest and highest. Peak memory is the largest
resident set of the contender's process, libraries included. The limit is what the
convolutions would take at the rate of a large matrix product, measured in the same
rounds with the fastest of NumPy, PyTorch and TensorFlow. Counted are direct (transposed
4 × 4) convolutions, a multiplication and an addition as two: GFLOP per image in
training and painting {per_image}."""


def _targets(groups: Sequence[Mapping]) -> str:
    rows = []
    for target in TARGETS:
        for group in groups:
            if found := against(target, group):
                name, peer, value = found
                of_speed = target.measure == "values"
                rows.append(
                    (
                        f"{target.task}, {_label(target.measure)}",
                        _case(group),
                        f"{_label(name)} ÷ {_label(peer)}",
                        _ratio(value) if of_speed else f"{value.median:.2f}",
                        f"{'≥' if of_speed else '≤'} {target.bound:.2f}",
                        "yes" if is_met(target, value) else "**no**",
                        _at_limit(group, peer) if of_speed else "–",
                    )
                )
    if not rows:
        return ""
    head = ("what", "case", "ratio", "measured", "target", "met", "at the limit")
    text = (
        "“At the limit” is the ratio that a contender as fast as the limit would have."
    )
    return f"## Targets\n\n{_table(head, rows)}\n\n{text}"


def _at_limit(group: Mapping, peer: str) -> str:
    contenders = group["contenders"]
    if "limit" not in contenders:
        return "–"
    values = (contenders[name]["values"] for name in ("limit", peer))
    return f"{ratio(*values).median:.2f}"


def _tables(groups: Sequence[Mapping]) -> list[str]:
    """Speed, ratios and memory of a task's groups; one column a case."""
    names = list(dict.fromkeys(n for g in groups for n in g["contenders"]))
    ours = names[0]
    unit = groups[0]["unit"]
    slow = unit == "distances/s"  # takes seconds each; better told so

    def speed(group, name):
        values = group["contenders"][name]["values"]
        return _significant(spread([1 / v for v in values] if slow else values))

    def compared(group, name):
        both = (group["contenders"][n]["values"] for n in (ours, name))
        return _ratio(ratio(*both))

    def memory(group, name):
        peak = group["contenders"][name].get("peak_memory")
        return _mebibytes(peak) if peak else None

    def distance(group, name):
        own, other = (group["contenders"][n].get("distance") for n in (ours, name))
        return f"{other:.8g} ({abs(own - other) / own:.1e})" if own and other else None

    tables = [_by_case("seconds" if slow else unit, groups, names, speed)]
    if len(names) > 1:
        label = f"{_label(ours)} ÷ …"
        tables.append(_by_case(label, groups, names[1:], compared))
    tables.append(_by_case("distance (relative difference)", groups, names, distance))
    tables.append(_by_case("peak memory, MiB", groups, names, memory))
    return [table for table in tables if table]


def _layers(group: Mapping) -> str:
    """The parts of a training step, as a table."""
    parts = dict(group["contenders"])
    seconds = {name: statistics.median(part["values"]) for name, part in parts.items()}
    product, step = parts.pop("product"), seconds["step"]
    product_rate = product["gflop"] / seconds["product"]
    del parts["step"]

    def row(label, names):
        time = sum(seconds[name] for name in names)
        gflop = sum(parts[name].get("gflop", 0) for name in names)
        return (
            label,
            parts[names[0]].get("form", "") if len(names) == 1 else "",
            f"{gflop:.1f}" if gflop else "",
            f"{1000 * time:.1f}",
            f"{time / step:.1%}",
            f"{gflop / time / product_rate:.2f}" if gflop else "",
        )

    large = [name for name in parts if seconds[name] >= 0.01 * step]
    small = [name for name in parts if name not in large]
    rows = [row(name.replace("_", " "), [name]) for name in large]
    rows.append(row(f"{len(small)} others", small))
    rows.append(row("**sum**", list(parts)))
    rows.append(("**whole step**", "", "", f"{1000 * step:.1f}", "100.0%", ""))
    head = (_case(group), "form", "GFLOP", "ms", "share", "rate")
    rate = f"Matrix product: {product_rate:.0f} GFLOP/s."
    return f"{_table(head, rows)}\n\n{rate}"


def _by_case(
    head: str, groups: Sequence[Mapping], names: Sequence[str], cell: Callable
) -> str:
    """A table of contenders by cases; "" where there is nothing to show."""
    rows = []
    for name in names:
        cells = [
            cell(group, name) if name in group["contenders"] else None
            for group in groups
        ]
        if any(cells):
            rows.append((_label(name), *(c or "–" for c in cells)))
    return _table((head, *map(_case, groups)), rows) if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _case(group: Mapping) -> str:
    case = group["case"]
    if "base_filters" in case:
        return (
            f"{_label(case['dtype'])}, {case['image_size']} px, "
            f"base {case['base_filters']}, batch {case['batch_size']}"
        )
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in case.items()) or "all"


def _accelerator(path: pathlib.Path) -> str:
    if not path.exists():
        return (
            "No GPU or TPU was at hand. On one, `python -m benchmarks.accelerator` "
            "measures it."
        )
    result = json.loads(path.read_text("utf-8"))
    sizes = result["image_size"], result["base_filters"]
    needed = {
        "training": flops.training_flops(*sizes) / 1e12,
        "painting": flops.inference_flops(*sizes) / 1e12,
    }
    rows = []
    for row in result["rows"]:
        peaks = result["peaks"][row["dtype"]]
        start = (row["work"], _label(row["dtype"]), str(row["batch_size"]))
        if row["values"] is None:
            rows.append((*start, "too little memory", "–", "–"))
            continue
        images = spread(row["values"])
        rate = images.median * needed[row["work"]]
        shares = (spread(peaks["products"]).median, peaks["maker"])
        rows.append(
            (
                *start,
                _significant(images),
                *(f"{rate / peak:.0%}" if peak else "–" for peak in shares),
            )
        )
    peaks = "; ".join(
        f"{_label(dtype)} {_significant(spread(peak['products']))}"
        + (f", by its maker {peak['maker']:g}" if peak["maker"] else "")
        for dtype, peak in result["peaks"].items()
    )
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    head = ("", "", "batch", "images/s", "share of products", "share of maker's peak")
    return (
        f"{result['device']}, {result['date']}, {versions}, `{result['command']}`. "
        f"Through Keras' JAX backend, {sizes[0]} × {sizes[0]} pixels, base {sizes[1]}. "
        f"TFLOP/s of large matrix products: {peaks}. fp32 is what the device takes for "
        "it by default (on NVIDIA's TF32).\n\n" + _table(head, rows)
    )


def _label(name: str) -> str:
    if name.startswith("ours_") and name not in LABELS:
        return f"dermgan_tf, {name.removeprefix('ours_').replace('_', ' ')}"
    return LABELS.get(name, name.replace("_", " "))


def _significant(value: Spread) -> str:
    """Three digits of the median, the range to the same place."""
    digits = 2 - math.floor(math.log10(value.median))
    return _shown(value, min(max(digits, 0), 4))


def _ratio(value: Spread) -> str:
    return _shown(value, 2)


def _shown(value: Spread, digits: int) -> str:
    median, low, high = (
        f"{v:.{digits}f}" for v in (value.median, value.low, value.high)
    )
    return f"{median} ({low}–{high})"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:,.0f}"
