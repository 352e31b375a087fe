"""Measures prepare_pairs on Beam's local workers: speed, and memory by data size.

Speed is compared with the bare work (decode a photo, resize and encode each crop of it,
by OpenCV) on as many processes, in turns. Both are given in photos a second, by the
clock and by processor time of all processes; the second holds on a busy machine, too.
What starting takes is measured with few photos, and shown apart. `--only=worker` starts
no Beam: it measures the processor time that a photo takes of a worker and its decoder.

Memory is the largest resident set of each process, for few photos and for many. Photos
of the many are the same few under other names. Prints a table; Linux only.
"""

import collections
import functools
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import contenders
from pipelines.shared import program

CROPS = contenders.CROPS_PER_PHOTO
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def define_flags():
    flags.DEFINE_integer("photos", 400, "Photos of a round.", lower_bound=20)
    flags.DEFINE_list("sizes", "480x640,960x1280,1920x2560", "Heights × widths, px.")
    flags.DEFINE_integer("image_size", 256, "Side of a crop in pixels.")
    flags.DEFINE_integer("workers", 2, "Processes of each.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Turns of each.", lower_bound=1)
    flags.DEFINE_list("memory_photos", "1000,10000", "Photos to measure memory with.")
    flags.DEFINE_list("only", "worker,speed,memory", "What to measure.")


def main(args):
    with tempfile.TemporaryDirectory(prefix="dermgan-beam-") as folder:
        if "worker" in args.only:
            for size in args.sizes:
                measure_worker(args, pathlib.Path(folder) / f"{size}-worker", size)
        if "speed" in args.only:
            for size in args.sizes:
                measure_speed(args, pathlib.Path(folder) / size, size)
        if "memory" in args.only:
            for count in map(int, args.memory_photos):
                measure_memory(args, pathlib.Path(folder) / f"{count}", count)


def measure_speed(args, folder, size):
    photos = drawn_photos(folder, args.photos, size)
    few = first_of(photos, 2 * args.workers)
    runs = collections.defaultdict(list)
    for _ in range(args.rounds):
        for name, work in (
            ("bare", lambda: bare(photos.parent, args)),
            ("start", lambda: beam(few, args)),
            ("beam", lambda: beam(photos, args)),
        ):
            runs[name].append(measured(work))
    print(f"\n{size} photos, {args.photos} a round, {args.workers} processes")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    for kind in ("seconds", "processor"):
        took = {name: [getattr(run, kind) for run in runs[name]] for name in runs}
        ratios = [
            b / max(all_ - start, 1e-9)
            for b, all_, start in zip(
                took["bare"], took["beam"], took["start"], strict=True
            )
        ]
        whole = [b / a for b, a in zip(took["bare"], took["beam"], strict=True)]
        medians = {name: statistics.median(took[name]) for name in took}
        print(
            f"{kind:<10} bare {medians['bare']:.1f} s, Beam {medians['beam']:.1f} s, "
            f"of that start {medians['start']:.1f} s; bare ÷ Beam without start "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}), "
            f"with it {statistics.median(whole):.2f}",
            flush=True,
        )


def measure_worker(args, folder, size):
    import cv2

    from dermgan_tf.pairs.beam import _Cutter
    from dermgan_tf.pairs.cutting import pairs_of_photo
    from dermgan_tf.pairs.jobs import photo_jobs
    from dermgan_tf.pairs.sources import AnnotatedPhoto
    from dermgan_tf.photos.annotations import annotations_vocabulary, read_annotations

    cv2.setNumThreads(1)
    annotations, _ = read_annotations(drawn_photos(folder, args.photos, size))
    vocabulary = annotations_vocabulary(annotations)
    jobs = photo_jobs([AnnotatedPhoto(str(folder), one) for one in annotations])
    work = functools.partial(
        pairs_of_photo,
        vocabulary=vocabulary,
        image_size=args.image_size,
        crops_per_photo=CROPS,
        healthy_crops_per_photo=0,
        seed=0,
    )
    cutter = _Cutter(work, vocabulary, args.image_size, str(folder), isolated=True)
    cutter.do(0, jobs[:4])
    [decoder] = cutter._crew._workers
    took = collections.defaultdict(list)
    for number in range(args.rounds):
        start = time.process_time()
        for job in jobs:
            contenders.bare_crops(job.photo.path, args.image_size)
        between, ticks = time.process_time(), process_ticks(decoder.process.pid)
        cutter.do(number, jobs)
        took["bare"].append(between - start)
        took["worker"].append(time.process_time() - between)
        ticks = process_ticks(decoder.process.pid) - ticks
        took["decoder"].append(ticks / TICKS)
    cutter.close()
    ratios = [b / (w + d) for b, w, d in zip(*took.values(), strict=True)]
    shown = ", ".join(
        f"{name} {1000 * statistics.median(values) / len(jobs):.1f} ms"
        for name, values in took.items()
    )
    print(
        f"{size}, {len(jobs)} photos, processor time of one: {shown}; bare ÷ both "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
        flush=True,
    )


def measure_memory(args, folder, count):
    photos = drawn_photos(folder, 20, "480x640", copies=count)
    run = measured(lambda: beam(photos, args))
    peaks = ", ".join(
        f"{name} {max(values) / 2**20:.0f}"
        for name, values in sorted(run.peaks.items())
    )
    print(f"{count} photos: largest resident set by process, MiB: {peaks}", flush=True)


# --- what is measured ---


def beam(annotations, args):
    out = annotations.with_suffix(".pairs")
    return [
        sys.executable,
        "-m",
        "pipelines.prepare_pairs",
        f"--annotations={annotations}",
        f"--output_dir={out}",
        f"--image_size={args.image_size}",
        f"--crops_per_photo={CROPS}",
        "--beam_runner=DirectRunner",
        f"--workers={args.workers}",
        "--overwrite",
    ]


def bare(folder, args):
    return [
        sys.executable,
        "-c",
        "import sys; from benchmarks.beam import work_bare; work_bare(*sys.argv[1:])",
        str(folder),
        str(args.image_size),
        str(args.workers),
    ]


def work_bare(folder, image_size, workers):
    paths = sorted(map(str, pathlib.Path(folder).glob("photos/*.jpg")))
    with multiprocessing.get_context("fork").Pool(int(workers)) as pool:
        work = [(path, int(image_size)) for path in paths]
        for _ in pool.imap_unordered(cut_bare, work, chunksize=8):
            pass


def cut_bare(given):
    import cv2

    path, image_size = given
    cv2.setNumThreads(1)
    return [len(png) for png in contenders.bare_crops(path, image_size)]


# --- measuring ---


class Run:
    def __init__(self, seconds, processor, peaks):
        self.seconds, self.processor, self.peaks = seconds, processor, peaks


def measured(work):
    """Runs a command; what it and all processes below it took."""
    ticks, peaks, names = {}, {}, {}
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(work(), stdout=nowhere, stderr=subprocess.PIPE)
        while process.poll() is None:
            for pid in family(process.pid):
                look(pid, process.pid, ticks, peaks, names)
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    by_name = collections.defaultdict(list)
    for pid, peak in peaks.items():
        by_name[names[pid]].append(peak)
    seconds = time.perf_counter() - start
    return Run(seconds, sum(ticks.values()) / TICKS, by_name)


def look(pid, root, ticks, peaks, names):
    """Notes what a process took until now; it may be gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return
    ticks[pid] = user_and_system(fields)
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            peaks[pid] = max(peaks.get(pid, 0), int(line.split()[1]) * 1024)
    if not command:  # it has just ended
        names.setdefault(pid, "other")
    elif pid == root:
        names[pid] = "main"
    elif "sdk_worker_main" in command and not command.startswith(("/bin/sh", "sh")):
        names[pid] = "worker"
    elif "spawn_main" in command:
        names[pid] = "decoder"
    else:
        names[pid] = "other"


def process_ticks(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return user_and_system(stat.rpartition(")")[2])


def user_and_system(fields):
    """Clock ticks, from what stands behind the name in /proc/…/stat."""
    return sum(map(int, fields.split()[11:13]))


def family(root):
    """The ids of a process and of all below it."""
    children = collections.defaultdict(list)
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children[int(fields[1])].append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


# --- photos ---


def drawn_photos(folder, count, size, copies=None):
    """Annotations of phantom photos as JPEG files; copies are links to them."""
    from dermgan_tf.phantom import write_phantom

    height, width = map(int, size.split("x"))
    write_phantom(folder, -(-count // 3) + 2, photo_size=(height, width))
    file = folder / "annotations.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line for line in lines if line["rois"]][:count]
    if copies:
        for number in range(copies):
            line = lines[number % count]
            name = f"photos/copy{number}.jpg"
            os.link(folder / line["image"], folder / name)
            lines.append({**line, "image": name, "case_id": f"copy{number}"})
        lines = lines[count:]
    used = {folder / line["image"] for line in lines}
    for path in folder.glob("photos/*"):
        if path not in used:
            path.unlink()
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def first_of(annotations, count):
    path = annotations.with_name("first.jsonl")
    lines = annotations.read_text().splitlines(keepends=True)[:count]
    path.write_text("".join(lines))
    return path


if __name__ == "__main__":
    program.run(define_flags, main)
