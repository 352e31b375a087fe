"""Plants copies of photos, and counts how many the two searches for copies find.

Some cases are held out. Copies of their photos are changed in many ways, and saved as
JPEG in a temporary folder (at quality 90, unless told).
`dermgan_tf.inspection.duplicates` looks for them among all photos,
`dermgan_tf.classifier.leakage` compares them with the held-out photos. False are those
that are put together with another photo than their own. Prints tables.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time

import cv2
import numpy as np
from absl import flags

from dermgan_tf.inspection.duplicates import find_duplicates, read_prints
from dermgan_tf.photos import annotations as jsonl
from dermgan_tf.photos import photo_io
from pipelines.shared import program


def scaled(factor):
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return lambda photo: cv2.resize(photo, None, None, factor, factor, way)


def without(share):
    """Cuts off a share of each border."""

    def kept(side):
        return slice(round(share * side), side - round(share * side))

    return lambda photo: photo[kept(photo.shape[0]), kept(photo.shape[1])]


HALF = scaled(0.5)
COPIES = {  # what is done to a photo; JPEG quality
    "JPEG 75": (lambda photo: photo, 75),
    "JPEG 50": (lambda photo: photo, 50),
    "JPEG 30": (lambda photo: photo, 30),
    "twice the size": (scaled(2), 90),
    "half the size": (HALF, 90),
    "a third of the size": (scaled(1 / 3), 90),
    "half the size, JPEG 50": (HALF, 50),
    "mirrored left-right, JPEG 75": (lambda photo: photo[:, ::-1], 75),
    "mirrored up-down, half the size": (lambda photo: HALF(photo[::-1]), 90),
    "turned by 180°, JPEG 75": (lambda photo: photo[::-1, ::-1], 75),
    "turned by 90°": (np.rot90, 90),
    "transposed, half the size, JPEG 50": (lambda p: HALF(p.swapaxes(0, 1)), 50),
    "10 grey levels brighter": (lambda photo: cv2.add(photo, (10, 10, 10, 0)), 90),
    "gamma 0.7": (lambda p: np.uint8(255 * (p / 255) ** 0.7), 90),
    "without 1.5 % of each border": (without(0.015), 90),
    "without 3 % of each border": (without(0.03), 90),
    "without 3 %, mirrored, JPEG 50": (lambda p: without(0.03)(p[:, ::-1]), 50),
    "without 5 % of each border": (without(0.05), 90),
    "without 5 % on one side": (lambda p: p[:, round(0.05 * p.shape[1]) :], 90),
    "without 10 % of each border": (without(0.1), 90),
}
IMAGE_SIZE = 160  # pixels, for the embedding
COLUMNS = ["copy", "planted", "find_duplicates, found", "false"]
TIMED = ["step", "images", "seconds per 1,000", "processor seconds per 1,000"]


def define_flags():
    flags.DEFINE_string("annotations", None, "annotations.jsonl.", required=True)
    flags.DEFINE_integer("photos", 500, "At most, drawn by case.", lower_bound=2)
    flags.DEFINE_float("held_out", 0.4, "Of the cases.", lower_bound=0, upper_bound=1)
    flags.DEFINE_integer("planted", 60, "Photos that are copied.", lower_bound=1)
    flags.DEFINE_string("embedding", "mobilenet_v2", "Empty: leave leakage out.")
    flags.DEFINE_string("embedding_weights", None, "Default: ImageNet's.")
    flags.DEFINE_integer("seed", 0, "Of the draws.", lower_bound=0)


def main(args):
    if args.embedding:
        program.load_tensorflow()
    columns, times = [*COLUMNS], {}
    with tempfile.TemporaryDirectory(prefix="dermgan-copies-") as folder:
        planted = plant(args, pathlib.Path(folder))
        shown, rows = search_prints(planted, times)
        if args.embedding:
            from dermgan_tf.metrics.embeddings import build_embedding

            embedding = build_embedding(args.embedding, args.embedding_weights)
            found = search_embedded(planted, shown, embedding, times)
            rows = {kind: cells + found[kind] for kind, cells in rows.items()}
            columns += ["copies_among, found", "false"]
    print(f"\n{table(columns, rows)}\n\n{table(TIMED, times)}")


@dataclasses.dataclass(frozen=True)
class Planted:
    folder: pathlib.Path  # holds annotations.jsonl
    held_out: list[str]  # images
    others: list[str]
    copies: dict[str, dict[str, str]]  # kind -> copy -> its photo


def plant(args, folder):
    """Draws whole cases, and writes copies of held-out photos into a folder."""
    (folder / "photos").symlink_to(os.path.dirname(os.path.abspath(args.annotations)))
    (folder / "copies").mkdir()
    images = collections.defaultdict(list)
    for one in jsonl.read_annotations(args.annotations)[0]:
        images[one.case_id].append(f"photos/{one.image}")
    cases = np.random.default_rng(args.seed).permutation(sorted(images)).tolist()
    while len(cases) > 2 and sum(len(images[case]) for case in cases) > args.photos:
        cases.pop()
    parts = {"test": [], "train": []}
    lines, copies = [], {kind: {} for kind in COPIES}
    for place, case in enumerate(cases):
        split = "test" if place < max(1, args.held_out * len(cases)) else "train"
        parts[split] += images[case]
        for image in images[case]:
            lines.append(jsonl.PhotoAnnotation(image, case, "photo", split=split))
    for original in program.progress(parts["test"][: args.planted], desc="planting"):
        photo = photo_io.read_photo(folder / original)
        for kind, (change, quality) in COPIES.items():
            copy = f"copies/{len(lines)}.jpg"
            data = photo_io.encode_jpeg(np.ascontiguousarray(change(photo)), quality)
            (folder / copy).write_bytes(data)
            lines.append(jsonl.PhotoAnnotation(copy, copy, "copy", split="train"))
            copies[kind][copy] = original
    jsonl.write_annotations(folder / "annotations.jsonl", lines)
    return Planted(folder, parts["test"], parts["train"], copies)


def search_prints(planted, times):
    """The photo that each image shows, by a digest, and the table's first cells."""
    lines, _ = jsonl.read_annotations(planted.folder / "annotations.jsonl")
    with timed(times, "read_prints", len(lines)):
        prints, rejects = read_prints(planted.folder, lines, None, program.progress)
    prints = dict(zip((line.image for line in lines), prints, strict=True))
    shown = {image: one and one.digest for image, one in prints.items()}
    for copies in planted.copies.values():
        shown |= {copy: shown[photo] for copy, photo in copies.items()}
    photos, rows = [*planted.held_out, *planted.others], {}
    found = find_duplicates([prints[image] for image in photos])
    exact = sum(pair.kind == "exact" for pair in found)
    print(f"{len(photos)} photos, {len(rejects)} images unread")
    print(f"find_duplicates: {len(found)} pairs among the photos, {exact} exact")
    looked_at = len(lines) + (len(COPIES) - 1) * len(photos)
    with timed(times, "find_duplicates", looked_at):
        for kind, copies in program.progress(planted.copies.items(), desc="copies"):
            images = [*photos, *copies]
            found = find_duplicates([prints[image] for image in images])
            pairs = [(images[pair.second], images[pair.first]) for pair in found]
            rows[kind] = [len(copies), *tallied(pairs, copies, shown)]
    return shown, rows


def search_embedded(planted, shown, embedding, times):
    from dermgan_tf.classifier.labelled_reading import file_names, read_labelled_splits
    from dermgan_tf.classifier.leakage import HeldOutPhotos, named_pairs

    parts, _ = read_labelled_splits(planted.folder / "annotations.jsonl", IMAGE_SIZE)
    held_out, images = parts["test"], parts["train"]
    with timed(times, "HeldOutPhotos", len(held_out)):
        search = HeldOutPhotos(held_out, embedding, progress=program.progress)
    with timed(times, "copies_among", len(images)):
        found = search.copies_among(images, program.progress)
    # What is read is named without its folder.
    copies = [copy for kind in planted.copies.values() for copy in kind]
    trained, kept = (
        dict(zip(file_names(paths), paths, strict=True))
        for paths in ([*planted.others, *copies], planted.held_out)
    )
    pairs = [(trained[one.image_id], kept[one.held_out_id]) for one in found]
    others = [
        (one, shown[image] == shown[photo])
        for one, (image, photo) in zip(found, pairs, strict=True)
        if image in planted.others
    ]
    print(
        f"copies_among, {embedding.name}, {len(held_out)} photos held out: of the "
        f"{len(planted.others)} others {len(others)}, "
        f"{sum(exact for _, exact in others)} exact",
        named_pairs([one for one, _ in others]),
    )
    return {kind: tallied(pairs, x, shown) for kind, x in planted.copies.items()}


def tallied(pairs, copies, shown):
    """How many copies are paired with what shows their photo, and with another."""
    pairs = [(a, shown[a] == shown[b]) for a, b in pairs if a in copies]
    return [len({a for a, same in pairs if same is right}) for right in (True, False)]


@contextlib.contextmanager
def timed(times, step, images):
    start = time.perf_counter(), time.process_time()
    yield
    taken = time.perf_counter() - start[0], time.process_time() - start[1]
    times[step] = [images, *(f"{1000 * seconds / images:.1f}" for seconds in taken)]


def table(columns, rows):
    lines = [columns, ["---"] * len(columns)]
    lines += [[name, *map(str, row)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    program.run(define_flags, main)
