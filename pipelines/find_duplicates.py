"""Finds photos that show the same, across cases and splits, and cleans annotations.

Writes duplicates.csv (one line a photo, by group) and duplicates.png (the groups side
by side). With --dedupe=FILE also cleaned annotations: cases that share a photo in one
split, the earliest of theirs in the order train, validation, test; exact doubles within
a case dropped; every change in changes.csv. No training case becomes a test case.
"""

import os
import time

from absl import flags

from pipelines.shared import program


def define_flags():
    flags.DEFINE_string(
        "annotations", None, "annotations.jsonl of the photos.", required=True
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds what was found.", required=True
    )
    flags.DEFINE_string(
        "dedupe",
        None,
        "Cleaned annotations to write, with the split of every photo: a new file in "
        "the folder of --annotations, to which the photos' paths are relative.",
    )
    flags.DEFINE_float(
        "min_similarity",
        0.9,
        "Similarity, 0.5 to 1, from which on two photos are the same. At 0.75 other "
        "photos of the same patient's place come along, and a few of two patients.",
        lower_bound=0.5,
        upper_bound=1,
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that read photos; default: one a CPU core. A decoder that crashes "
        "costs its photo only, also with 1.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool(
        "overwrite", False, "Replace a non-empty output folder, and the --dedupe file."
    )


def main(args):
    from dermgan_tf.errors import InputError, check_reject_fraction, write_rejects
    from dermgan_tf.inspection import dedupe, duplicates
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.photos import photo_io
    from dermgan_tf.photos.annotations import case_splits, write_annotations
    from dermgan_tf.reports import duplicates as duplicates_report
    from dermgan_tf.run_record import write_run_record

    start = time.monotonic()
    folder = os.path.dirname(os.path.abspath(args.annotations))
    if args.dedupe:
        check_cleaned(args.dedupe, args.annotations, args.overwrite)
    annotations, rejects, clashes = dedupe.read_with_clashes(args.annotations)
    if not annotations and not rejects:
        raise InputError(f"{args.annotations} describes no photo")
    if not args.dedupe:
        dedupe.require_no_clashes(
            clashes, args.annotations, "--dedupe=FILE writes it with one"
        )
    with output_folder(args.output_dir, args.overwrite, [args.annotations]) as out:
        prints, unread = duplicates.read_prints(
            folder, annotations, args.workers, program.progress, crash_safe=True
        )
        total = len(annotations) + len(rejects)
        rejects = [*rejects, *unread]
        check_reject_fraction(rejects, total, args.max_reject_fraction, "the photos")
        pairs = duplicates.find_duplicates(
            prints, args.min_similarity, args.workers, program.progress
        )
        by_case = case_splits(annotations)
        cases = [one.case_id for one in annotations]
        splits = [one.split or by_case[one.case_id] for one in annotations]
        groups = duplicates.ordered_groups(pairs, cases, splits)
        duplicates_report.write_duplicates_csv(
            out / "duplicates.csv", annotations, splits, prints, pairs, groups
        )
        if groups:
            sheet = duplicates_report.duplicates_sheet(
                lambda place: photo_io.read_photo(
                    os.path.join(folder, annotations[place].image)
                ),
                splits,
                pairs,
                groups,
            )
            (out / "duplicates.png").write_bytes(photo_io.encode_png(sheet))
        write_rejects(out / "rejects.csv", rejects)
        cleaned, changes = None, []
        if args.dedupe:
            cleaned, changes = dedupe.dedupe(annotations, prints, groups)
            dedupe.write_changes(out / "changes.csv", changes)
        seconds = time.monotonic() - start
        write_run_record(
            out,
            "find_duplicates",
            program.flag_values(args),
            durations={"find_duplicates": seconds},
        )
        if cleaned is not None:
            write_annotations(args.dedupe, cleaned)
    summary = duplicates.summarize_duplicates(
        pairs, cases, splits, [one.condition for one in annotations]
    )
    print_summary(summary, len(prints) - len(unread), len(rejects))
    if cleaned is not None:
        print_changes(annotations, cleaned, changes)
        print(f"written: {args.dedupe}")
    elif summary["groups_across_splits"] or summary["groups_across_cases"]:
        print("--dedupe=FILE writes annotations with these cases in one split")
    print(f"{seconds:.1f} s: {args.output_dir} (shows photos: as confidential as they)")


def check_cleaned(cleaned, annotations, overwrite):
    from dermgan_tf.errors import InputError

    where = os.path.dirname(os.path.realpath(annotations))
    if os.path.dirname(os.path.realpath(cleaned)) != where:
        raise InputError(
            f"--dedupe={cleaned} is not in the folder of --annotations, {where}, to "
            "which the photos' paths are relative; name a file there"
        )
    if os.path.realpath(cleaned) == os.path.realpath(annotations):
        raise InputError("--dedupe names the file of --annotations; name a new one")
    if os.path.exists(cleaned) and not overwrite:
        raise InputError(f"{cleaned} is there already; --overwrite replaces it")


def print_summary(summary, compared, rejected):
    print(f"photos compared: {compared}; bad, see rejects.csv: {rejected}")
    print(
        f"groups that show the same: {summary['groups']} ({summary['photos']} photos), "
        f"{summary['groups_across_cases']} of several cases, "
        f"{summary['groups_across_splits']} of several splits"
    )
    if summary["groups_of_several_conditions"]:
        print(
            "groups whose photos are said to show several conditions: "
            f"{summary['groups_of_several_conditions']}"
        )
    for kind, count in summary["pairs"].items():
        if count:
            print(f"  pairs, {kind:<12}{count:>8}")


def print_changes(annotations, cleaned, changes):
    from dermgan_tf.photos.annotations import SPLITS, case_splits

    moves = [one for one in changes if one.change == "moved"]
    print(f"cases moved: {len(moves)}; photos dropped: {len(changes) - len(moves)}")
    ways = sorted({(one.before, one.after) for one in moves})
    for before, after in ways:
        count = sum((one.before, one.after) == (before, after) for one in moves)
        print(f"  {before} to {after}: {count}")
    splits = [list(case_splits(some).values()) for some in (annotations, cleaned)]
    print(f"{'split':<12}{'cases before':>14}{'after':>8}")
    for split in SPLITS:
        print(f"{split:<12}{splits[0].count(split):>14}{splits[1].count(split):>8}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
