"""Paints synthetic images with an exported generator: by spec, by plan, or as a sweep.

Writes images/ (PNG files that say in their text that they are synthetic, by which
generator, from which map and seed), generated.jsonl and, for a sweep, sheet.png.
"""

import os
import time

from absl import flags

from pipelines.shared import beam_flags, program

SPEC_FLAGS = ("condition", "fitzpatrick", "boxes", "count", "sweep")


def define_flags():
    flags.DEFINE_string(
        "saved_model", None, "SavedModel folder of export_generator.", required=True
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the images.", required=True
    )
    flags.DEFINE_string(
        "condition", None, "Skin condition to paint. Default: all in turn."
    )
    flags.DEFINE_integer(
        "fitzpatrick",
        None,
        "Fitzpatrick skin type, 1 to 6; 0 = unknown. Default: 1 to 6 in turn; in a "
        "sweep 3.",
        lower_bound=0,
        upper_bound=6,
    )
    flags.DEFINE_string(
        "boxes",
        None,
        'Where the condition is: "ymin,xmin,ymax,xmax;…", each 0 to 1 of the image\'s '
        'side, or "none". Default: drawn anew for each image, in a sweep the middle.',
    )
    flags.DEFINE_integer(
        "count",
        None,
        "Images to paint; in a sweep, seeds to show of each series. Default: 1.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the first image; it counts up from there. The same seed and map give "
        "the same image.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    flags.DEFINE_string(
        "plan",
        None,
        "JSON file: a list of objects with the keys condition, fitzpatrick, boxes, "
        "count and seed; what one leaves out varies. Or what plan_synthetic wrote.",
    )
    flags.DEFINE_enum(
        "sweep",
        None,
        ["skin_color", "size", "condition", "place"],
        "Paint a sheet in which this alone varies.",
    )
    flags.DEFINE_bool("write_maps", False, "Write the semantic maps beside the images.")
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes of --beam_runner=DirectRunner; default: one a CPU core.",
        lower_bound=1,
    )
    beam_flags.define_flags()
    flags.register_multi_flags_validator(
        ["sweep", "workers", "beam_runner"],
        lambda values: (
            (values["workers"] is None if not values["beam_runner"] else True)
            and not (values["sweep"] and values["beam_runner"])
        ),
        "--workers is for --beam_runner, and --beam_runner not for --sweep",
    )
    flags.register_multi_flags_validator(
        ["plan", *SPEC_FLAGS],
        lambda values: (
            values["plan"] is None or all(values[name] is None for name in SPEC_FLAGS)
        ),
        "--plan says itself what to paint: leave out "
        + ", ".join(f"--{name}" for name in SPEC_FLAGS),
    )


def main(args):
    from dermgan_tf.generation.plan import (
        parse_boxes,
        plan_sweep,
        read_plan,
        varied_specs,
    )
    from dermgan_tf.remote_storage import is_remote, without_file_scheme
    from dermgan_tf.run_record import write_run_record

    start = time.monotonic()
    boxes = None if args.boxes is None else parse_boxes(args.boxes)
    program.load_tensorflow()
    from dermgan_tf.generation.painting import write_images, write_sweep
    from dermgan_tf.models.dermgan.served import load_generator

    saved_model = without_file_scheme(args.saved_model)
    generator = load_generator(saved_model)
    vocabulary = generator.vocabulary
    trained_on = generator.metadata["provenance"].get("data_fingerprint")
    given = (args.seed, args.condition, args.fitzpatrick, boxes)
    count = args.count or 1
    inputs = [args.saved_model] + ([args.plan] if args.plan else [])
    with beam_flags.output(args, "generated.jsonl", inputs, args.workers) as outputs:
        folder, beam_run = outputs
        loaded = time.monotonic()
        options = {"write_maps": args.write_maps, "progress": program.progress}
        if args.sweep:
            sweep = plan_sweep(args.sweep, vocabulary, *given, variants=count)
            written = write_sweep(generator, sweep, folder, **options)
        else:
            if args.plan:
                total, specs = read_plan(args.plan, vocabulary, args.seed, trained_on)
            else:
                total, specs = count, varied_specs(vocabulary, count, *given)
            if beam_run:
                from dermgan_tf.generation.beam import write_images_by_beam

                model = (
                    saved_model
                    if is_remote(saved_model)
                    else os.path.abspath(saved_model)
                )
                written = write_images_by_beam(
                    model, generator, specs, total, folder, beam_run, **options
                )
            else:
                written = write_images(generator, specs, folder, total, **options)
        painting = time.monotonic() - loaded
        write_run_record(
            folder,
            "generate",
            {**program.flag_values(args), "generator": generator.fingerprint},
            seed=args.seed,
            data_fingerprint=trained_on,
            durations={"load": loaded - start, "paint": painting},
        )
    print(
        f"{args.output_dir}: {written} synthetic images"
        f"{' and sheet.png' if args.sweep else ''} in {painting:.1f} s "
        f"({written / painting:.1f} images/s), generator {generator.fingerprint[:8]}"
    )


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
