"""Runs the whole main job, small, on phantom data.

Draws phantom photographs, cuts pairs, trains DermGAN, exports a SavedModel, paints
sheets, measures a Fréchet distance, compares classifiers, and writes
OUTPUT_DIR/report.html. 6 to 10 minutes on two CPU cores.
"""

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_string("output_dir", "runs/quickstart", "Folder to write.")
    flags.DEFINE_integer("cases", 320, "Phantom cases to draw.", lower_bound=40)
    flags.DEFINE_integer("steps", 3000, "Training steps of DermGAN.", lower_bound=1)
    flags.DEFINE_integer(
        "classifier_steps",
        330,
        "Training steps of the classifier without synthetic images; the one with them "
        "takes as many more as it needs to see as many phantoms.",
        lower_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Seed of everything.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output_dir.")


def main(args):
    program.load_tensorflow()
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.run_record import write_run_record
    from dermgan_tf.studies.quickstart import run_quickstart

    with output_folder(args.output_dir, args.overwrite) as folder:
        metrics = run_quickstart(
            folder,
            cases=args.cases,
            steps=args.steps,
            classifier_steps=args.classifier_steps,
            seed=args.seed,
            progress=program.progress,
        )
        write_run_record(
            folder,
            "quickstart",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=metrics["data"]["fingerprint"],
            durations=metrics["seconds"],
        )
    print_summary(metrics, args.output_dir)


def print_summary(metrics, output_dir):
    from dermgan_tf.reports.page import format_interval, format_number
    from dermgan_tf.reports.quickstart import verdict

    distances = metrics["evaluation"]["distances"]["overall"]
    name = metrics["evaluation"]["embedding"]["name"]
    for label, key in (("synthetic", "synthetic_real"), ("phantom", "real_real")):
        trials = distances[key]["frechet_trials"]
        print(
            f"Fréchet distance ({name}, {trials['sample_size']} images a side), "
            f"{label} against phantom: {format_number(trials['mean'])} "
            f"(95 % of {trials['trials']} trials: "
            f"{format_interval(trials['interval_95'])})"
        )
    for line in verdict(metrics):
        print(f"{line['subject']}: {line['grade']}: {line['text']}")
    minutes = sum(metrics["seconds"].values()) / 60
    print(f"{minutes:.1f} minutes; open {output_dir}/report.html")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
