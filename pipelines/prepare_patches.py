"""Cuts patches of healthy skin and of pathology from photos with masks of pathology.

Bad photos are listed in OUTPUT_DIR/rejects.csv; when there are too many the run fails,
and the list is OUTPUT_DIR.rejects.csv. Photos with an empty mask give healthy patches.
"""

import contextlib
import os
import time

from absl import flags

from pipelines.prepare_pairs import rejects_kept
from pipelines.shared import id_flags, program

# The flag of each limit, and its default: least and most, 0 to 1.
SHARES = {
    ("healthy", "skin"): ("healthy_skin", "0.9,1"),
    ("healthy", "pathology"): ("healthy_pathology", "0,0"),
    ("pathology", "skin"): ("pathology_skin", "0.75,1"),
    ("pathology", "pathology"): ("pathology_share", "0.03,0.5"),
}
# Flags of what is read: the output must not be there.
GIVEN = ("annotations", "images_dir", "masks_dir", "skin_masks_dir", "id_salt_file")
INPUTS = ("annotations", "images_dir", "phantom")


def define_flags():
    flags.DEFINE_string(
        "annotations", None, "annotations.jsonl: photos, their cases and splits."
    )
    flags.DEFINE_string(
        "images_dir", None, "Or a folder of photos alone; each is a case of its own."
    )
    flags.DEFINE_bool("phantom", False, "Or drawn phantom photos with true masks.")
    flags.register_multi_flags_validator(
        INPUTS,
        lambda values: sum(map(bool, values.values())) == 1,
        "give one of --annotations=FILE, --images_dir=DIR, --phantom",
    )
    flags.DEFINE_string(
        "masks_dir",
        None,
        "Folder of the masks, of their photos' size and name, white on pathology.",
    )
    flags.register_multi_flags_validator(
        ["masks_dir", "phantom"],
        lambda values: bool(values["masks_dir"]) != values["phantom"],
        "photos need --masks_dir=DIR; phantoms have their masks",
    )
    flags.DEFINE_string(
        "mask_suffix", "", "What masks' names have more than photos', e.g. _mask."
    )
    flags.DEFINE_string(
        "skin_masks_dir",
        None,
        "Folder of masks of skin, named like the others. Default: skin is found by its "
        "colour.",
    )
    flags.DEFINE_string(
        "case_pattern",
        "",
        "For --images_dir: regular expression that finds the case in a photo's name.",
    )
    flags.DEFINE_string(
        "condition", "pathology", "For --images_dir: what the masks show."
    )
    flags.DEFINE_integer("phantom_cases", 300, "Phantom cases to draw.", lower_bound=1)
    flags.DEFINE_list(
        "conditions",
        None,
        "Conditions to take, comma-separated. Default: all that occur; of phantoms the "
        "first eight.",
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to make; holds the patches.", required=True
    )
    flags.DEFINE_integer("image_size", 128, "Side of a patch in pixels: 16 to 512.")
    flags.DEFINE_integer(
        "patches_per_photo", 4, "Patches of each domain of a photo.", lower_bound=1
    )
    for (domain, what), (name, default) in SHARES.items():
        flags.DEFINE_list(
            name,
            default,
            f"Least and most share, 0 to 1, of {what} pixels in a {domain} patch.",
        )
    flags.DEFINE_float(
        "healthy_margin",
        0.04,
        "How far healthy patches stay from pathology, as a share of the photo's "
        "shorter side: what lies around a wound is not healthy either.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random windows.", lower_bound=0)
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that read photos; default: one a CPU core.",
        lower_bound=1,
    )
    id_flags.define_id_flags("the patches")
    flags.DEFINE_float(
        "max_reject_fraction",
        0.1,
        "Share of bad photos, 0 to 1, above which the run fails.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def main(args):
    start = time.monotonic()
    id_salt = id_flags.id_salt(args)
    shares = read_shares(args)
    program.load_tensorflow()
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.pairs.prepare import write_patches
    from dermgan_tf.run_record import write_run_record

    given = [getattr(args, name) for name in GIVEN]
    with contextlib.ExitStack() as stack:
        stack.enter_context(rejects_kept(args.output_dir))
        photos, rejects = phantoms(args) if args.phantom else masked(args)
        folder = stack.enter_context(
            output_folder(args.output_dir, args.overwrite, filter(None, given))
        )
        info = write_patches(
            photos,
            folder,
            image_size=args.image_size,
            patches_per_photo=args.patches_per_photo,
            shares=shares,
            healthy_margin=args.healthy_margin,
            seed=args.seed,
            workers=args.workers,
            max_reject_fraction=args.max_reject_fraction,
            progress=program.progress,
            rejects=rejects,
            crash_safe=not args.phantom or None,
            id_salt=id_salt,
        )
        seconds = time.monotonic() - start
        write_run_record(
            folder,
            "prepare_patches",
            program.flag_values(args),
            seed=args.seed,
            data_fingerprint=info["fingerprint"],
            durations={"prepare_patches": seconds},
        )
    print_summary(info, args.output_dir, seconds)


def read_shares(args):
    from dermgan_tf.errors import InputError
    from dermgan_tf.pairs.windows import Shares

    limits = {"healthy": {}, "pathology": {}}
    for (domain, what), (name, _) in SHARES.items():
        given = getattr(args, name)
        try:
            least, most = map(float, given)
        except ValueError:
            raise InputError(
                f"--{name}={','.join(given)}: want two numbers, least and most"
            ) from None
        limits[domain][what] = least, most
    return {domain: Shares(**shares) for domain, shares in limits.items()}


def phantoms(args):
    from dermgan_tf.pairs.sources import PhantomScene, phantom_photos
    from dermgan_tf.phantom import phantom_vocabulary
    from dermgan_tf.photos.vocabulary import Vocabulary

    vocabulary = phantom_vocabulary()
    if args.conditions:
        vocabulary = Vocabulary(name.strip() for name in args.conditions)
    photos = phantom_photos(
        args.phantom_cases, vocabulary, args.seed, kind=PhantomScene
    )
    return photos, []


def masked(args):
    from dermgan_tf.errors import InputError
    from dermgan_tf.pairs.sources import annotations_of_folder, masked_photos
    from dermgan_tf.photos.annotations import read_annotations

    if args.images_dir:
        folder, bad = args.images_dir, []
        annotations = annotations_of_folder(folder, args.condition, args.case_pattern)
    else:
        annotations, bad = read_annotations(args.annotations)
        folder = os.path.dirname(os.path.abspath(args.annotations))
    if args.conditions:
        wanted = {name.strip() for name in args.conditions}
        known = sorted({annotation.condition for annotation in annotations})
        if unknown := wanted - set(known):
            raise InputError(
                f"unknown condition {min(unknown)!r}; known: {', '.join(known)}"
            )
        annotations = [a for a in annotations if a.condition in wanted]
    photos, rejects = masked_photos(
        folder, annotations, args.masks_dir, args.mask_suffix, args.skin_masks_dir
    )
    return photos, [*bad, *rejects]


def print_summary(info, output_dir, seconds):
    print(f"{'split and domain':<24}{'patches':>9}{'photos':>9}{'cases':>9}")
    for name in info["patches"]:
        counts = [info[what][name] for what in ("patches", "photos", "cases")]
        print(f"{name:<24}" + "".join(f"{count:>9}" for count in counts))
    print()
    for domain in info["side"]:
        print(
            f"{domain}: mean share of skin {info['skin_share'][domain]:.3f}, of "
            f"pathology {info['pathology_share'][domain]:.3f}; median window "
            f"{info['side'][domain]:.0f} pixels"
        )
    print(f"photos that give no patch: {info['photos_without_patch']}")
    print(f"bad items, see rejects.csv: {info['rejected']}")
    total = sum(info["patches"].values())
    print(f"{total} patches in {seconds:.1f} s: {output_dir}")


def run():
    program.run(define_flags, main)


if __name__ == "__main__":
    run()
