"""Measures speed and memory beside the peers' in one run, and writes BENCHMARKS.md."""

import dataclasses
import importlib.util
import pathlib
import shlex
import sys
import tempfile

from absl import flags

from pipelines.shared import program

TASKS = "training,inference,forms,layers,fit,loading,preparing,phantoms,frechet"
DTYPES = "float32,bfloat16"


def define_flags():
    flags.DEFINE_list("only", TASKS, f"What to measure: any of {TASKS}.")
    flags.DEFINE_list("base_filters", "64,32", "Filters of the networks' first block.")
    flags.DEFINE_list("batch_sizes", "1,4", "Images in a step.")
    flags.DEFINE_list("dtypes", DTYPES, "Of the networks' arithmetic.")
    flags.DEFINE_list("contenders", None, "Names, to measure these alone.")
    flags.DEFINE_integer("rounds", 5, "Slices of each contender.", lower_bound=1)
    flags.DEFINE_float("slice_seconds", 4.0, "Length of a slice.", lower_bound=0)
    flags.DEFINE_bool("quick", False, "All tiny, one round: a trial, no measurement.")
    flags.DEFINE_string(
        "results",
        None,
        "File of the results; what is measured anew replaces the same case there. "
        "Default: runs/benchmark/results.json.",
    )
    flags.DEFINE_string(
        "page",
        None,
        "The page to write, of all results in that file. Default: BENCHMARKS.md. With "
        "--quick both default to runs/benchmark/quick.",
    )
    flags.DEFINE_bool("render_only", False, "Measure nothing, write the page.")
    for name, known in (("only", TASKS), ("dtypes", DTYPES)):
        flags.register_validator(
            name,
            lambda values, known=known: set(values) <= set(known.split(",")),
            f"want some of {known}",
        )
    for name in ("base_filters", "batch_sizes"):
        flags.register_validator(
            name,
            lambda values: all(v.isdecimal() and int(v) > 0 for v in values),
            "want positive numbers, comma-separated",
        )


def main(args):
    from benchmarks import page
    from benchmarks.results import Results
    from dermgan_tf.output_folder import atomic_write

    files = ("runs/benchmark/results.json", "BENCHMARKS.md")
    if args.quick:
        files = ("runs/benchmark/quick.json", "runs/benchmark/quick.md")
    results = Results(args.results or files[0])
    page_file = args.page or files[1]
    timing = (1, 0.0) if args.quick else (args.rounds, args.slice_seconds)
    if not args.render_only:
        results.require_this_machine()
        command = shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]])
        with tempfile.TemporaryDirectory(prefix="dermgan-benchmark-") as folder:
            for group in chosen_groups(args, pathlib.Path(folder)):
                measured = group.measure(*timing, program.progress)
                kept = results.add(group, measured, command)
                print(page.summarize(kept), flush=True)
    text = page.render(results.environment, results.groups)
    atomic_write(page_file, text.encode())
    print(page_file)


def chosen_groups(args, folder):
    """Yields the groups that the flags ask for, one at a time."""
    from benchmarks import groups
    from dermgan_tf.errors import InputError

    scale = dataclasses.replace(groups.TINY, dtypes=tuple(args.dtypes))
    if not args.quick:
        scale = groups.Scale(
            base_filters=tuple(map(int, args.base_filters)),
            batch_sizes=tuple(map(int, args.batch_sizes)),
            dtypes=tuple(args.dtypes),
        )
    found = False
    for task in args.only:
        for group in groups.TASKS[task](scale, folder):
            if args.contenders:
                group = group.only(args.contenders)
            if any("pytorch" in name for name in group.contenders):
                require_torch()
            if group.contenders:
                found = True
                yield group
    if not found:
        raise InputError(
            f"no contender of {', '.join(args.only)} is named "
            f"{' or '.join(args.contenders)}"
        )


def require_torch():
    from dermgan_tf.errors import InputError

    if importlib.util.find_spec("torch") is None:
        raise InputError(
            'PyTorch is not installed: pip install "dermgan_tf[benchmark]", or leave '
            "it out with --contenders"
        )


if __name__ == "__main__":
    program.run(define_flags, main)
