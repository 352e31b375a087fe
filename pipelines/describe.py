"""Describes annotated photos, or pairs: what is in them, and what will be hard.

Writes report.html (one file, opens offline), description.json, figures and sheets of
examples. They show patients' photographs, unless told --no_photos: not for publication.
"""

import functools
import time

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_string("annotations", None, "annotations.jsonl of the photos.")
    flags.DEFINE_string("data_dir", None, "Pairs folder to describe instead.")
    flags.register_multi_flags_validator(
        ["annotations", "data_dir"],
        lambda values: bool(values["annotations"]) != bool(values["data_dir"]),
        "give either --annotations=FILE or --data_dir=DIR",
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the report.", required=True
    )
    flags.DEFINE_bool("no_photos", False, "Show no photographs: numbers and figures.")
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that read photos; default: one a CPU core. A decoder that crashes "
        "costs its photo only, also with 1.",
        lower_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    if args.data_dir:
        program.load_tensorflow()
    from dermgan_tf.inspection.description import describe_annotations, describe_pairs
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.reports.description import summary_lines, write_description
    from dermgan_tf.run_record import write_run_record

    start = time.monotonic()
    given = args.annotations or args.data_dir
    describe = describe_pairs
    if args.annotations:
        describe = functools.partial(describe_annotations, crash_safe=True)
    with output_folder(args.output_dir, args.overwrite, [given]) as folder:
        description = describe(
            given,
            examples=not args.no_photos,
            workers=args.workers,
            progress=program.progress,
        )
        write_description(
            folder, description.numbers, description.examples, description.rejects
        )
        seconds = time.monotonic() - start
        write_run_record(
            folder,
            "describe",
            program.flag_values(args),
            durations={"describe": seconds},
        )
    for line in summary_lines(description.numbers):
        print(line)
    print(f"{seconds:.1f} s: {args.output_dir}/report.html")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
