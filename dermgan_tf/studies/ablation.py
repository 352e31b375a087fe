"""The paper's Table 1 anew: what each part of DermGAN gives, over several seeds.

The full model and three reduced ones train on equal budgets: the same pairs, steps,
batches and seeds. Each run's averaged generator then paints every held-out map once,
with its position in the split as the seed, and the images are compared with the real
ones of these maps.

OUTPUT_DIR/ablation.json says what the folder is of; OUTPUT_DIR/runs/<model>-seed<k>/
holds a run of `train_gan` and, once it is judged, judgement.json. A run that has one is
finished and never trained again. `metrics.json` holds what `run_ablation` returns:

    format_version, training, data, embedding
    real_real        distances of real images to other real ones, as of a run
    models           one a row of the table:
                       model, label, switches (what was changed)
                       runs: seed, folder, generator (fingerprint), images,
                         frechet_distance, kernel_distance (of all images),
                         frechet_trials, kernel_trials (mean, standard_deviation,
                         interval_95, trials, sample_size: over random subsets)
                       over_seeds: frechet (of the trials' means), kernel: each with
                         mean, standard_deviation, interval_95 (Student's t), seeds
                       minus_full: likewise, of the differences from the full model's
                         run of the same seed; null for the full model itself
                       paper: mean, deviation; null where it has no such row
    paper            what the paper's numbers are of
    remarks          sentences that a reader of these numbers must know
"""

import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.output_folder import atomic_write, write_json
from dermgan_tf.pairs.pairs import read_pairs_at, read_pairs_info
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png, read_photo
from dermgan_tf.progress import silent
from dermgan_tf.reports.page import render_page
from dermgan_tf.reports.tables import csv_bytes
from dermgan_tf.studies.runs import (
    DistanceJudge,
    judged_count,
    shown_file,
    study_folder,
    switched,
    train_and_judge,
    with_defaults,
)

FORMAT_VERSION = 1
# What each model changes in the arguments of `train_gan`, and the paper's row: mean and
# deviation of its FID (Ghorbani et al. 2019, arXiv 1911.08716, Table 1).
MODELS = {
    "full": {"label": "DermGAN", "switches": {}, "paper": (122.4, 3.4)},
    "transposed_conv": {
        "label": "without checkerboard mitigation",
        "switches": {"upsampling": "transposed_conv"},
        "paper": (151.6, 3.4),
    },
    "no_condition_loss": {
        "label": "without condition loss",
        "switches": {"loss_weights": {"condition": 0.0}},
        "paper": (174.0, 4.7),
    },
    "no_feature_matching": {
        "label": "without feature matching",
        "switches": {"loss_weights": {"feature_matching": 0.0}},
        "paper": (140.7, 2.5),
    },
    # Not of the paper, which has no such loss.
    "diversity_loss": {
        "label": "with diversity loss",
        "switches": {"loss_weights": {"diversity": 0.05}},
        "paper": None,
    },
}
PAPER = {
    "real_real": {"mean": 83.6, "deviation": 2.5},
    "about": "FID in TF-GAN's Inception, 50 trials, 24,000 test images of 256 × 256",
}
DESCRIPTION = "ablation.json"
SHEET_FILE = "held_out_maps.png"
_OWN_FILES = (
    "runs",
    "real_activations.npz",
    "metrics.json",
    "table.csv",
    "runs.csv",
    "report.html",
    "run.json",
    SHEET_FILE,
)


def run_ablation(
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    embedding: Embedding,
    training: Mapping[str, Any],
    models: Sequence[str] = tuple(MODELS),
    seeds: int = 3,
    split: str = "test",
    trials: int = 50,
    max_images: int | None = None,
    keep_checkpoints: bool = False,
    overwrite: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Trains and judges all models, or goes on with what `output_dir` holds.

    Called again with the same arguments after a kill, it goes on within the run that
    was killed. `models` and `seeds` may change from one call to the next: runs that are
    not asked for stay, and are left out of the table.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        output_dir: folder of the ablation; made if absent.
        embedding: from `build_embedding`.
        training: arguments of `train_gan` that all runs share: steps, batch_size, ….
            Its loss weights are the full model's.
        models: names of MODELS.
        seeds: int ≥ 1. Each model trains with the seeds 0 … seeds − 1.
        split: the held-out split.
        trials, max_images: as of `DistanceJudge`.
        keep_checkpoints: bool. Whether the checkpoints of finished runs are kept; their
            weights are anyway.
        overwrite: bool. Whether to delete the ablation in `output_dir` and start anew.
        stop_requested: asked after every training step and batch painted; once true,
            what is done is saved and InputError raised.
        announce: called with a line of text when a run begins.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values; see the module's docstring. It is also written down:
        metrics.json, table.csv, runs.csv, held_out_maps.png, report.html.

    Raises:
        InputError: for bad arguments or pairs, an ablation of another configuration in
            the folder, or what `train_gan` raises.
    """
    if unknown := sorted(set(models) - set(MODELS)):
        raise InputError(f"unknown model {unknown[0]!r}; known: {', '.join(MODELS)}")
    if not models or seeds < 1:
        raise InputError("an ablation needs at least 1 model and 1 seed")
    models = [name for name in MODELS if name in models]
    info = read_pairs_info(data_dir)
    count = judged_count(info, data_dir, split, max_images)
    training = with_defaults(training)
    facts = {
        "training": training,
        "data": {
            "fingerprint": info.fingerprint,
            "source": info.source,
            "split": split,
            "images": count,
            "images_in_split": info.counts[split],
            "image_size": info.image_size,
        },
        "embedding": embedding.describe(),
        "trials": trials,
    }
    with study_folder(output_dir, DESCRIPTION, facts, _OWN_FILES, overwrite) as folder:
        judge = DistanceJudge(
            data_dir,
            embedding,
            split,
            folder / "real_activations.npz",
            trials=trials,
            max_images=max_images,
            progress=progress,
        )
        real_real = judge.real_distances()
        # Seed by seed: what a stop leaves is complete for the seeds before.
        order = [(seed, name) for seed in range(seeds) for name in models]
        runs = {name: [] for name in models}
        for number, (seed, name) in enumerate(order, start=1):
            announce(f"{name}, seed {seed}, {number} of {len(order)}")
            place = f"runs/{name}-seed{seed}"
            judgement = train_and_judge(
                data_dir,
                folder / place,
                judge,
                switched(training, MODELS[name]["switches"]) | {"seed": seed},
                keep_checkpoints,
                stop_requested,
                progress,
            )
            runs[name].append({"seed": seed, "folder": place, **judgement})
        metrics = {
            "format_version": FORMAT_VERSION,
            **{k: v for k, v in facts.items() if k != "trials"},
            "real_real": real_real,
            "models": table_rows(runs),
            "paper": PAPER,
        }
        metrics["remarks"] = _remarks(metrics)
        _write(folder, metrics, _sheet(folder, data_dir, judge, metrics))
        return metrics


# === Statistics ===


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """How a number spreads between runs.

    Args:
        values: [n], one a seed.

    Returns:
        dict of mean, standard_deviation (of a run, n − 1 degrees of freedom),
        interval_95 (of the mean, Student's t; both None of one run) and seeds, n.
    """
    n = len(values)
    mean = float(np.mean(values))
    deviation = interval = None
    if n > 1:
        deviation = float(np.std(values, ddof=1))
        half = float(scipy.stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
        interval = [mean - half, mean + half]
    return {
        "mean": mean,
        "standard_deviation": deviation,
        "interval_95": interval,
        "seeds": n,
    }


def table_rows(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of the table.

    Args:
        runs: for each model its runs, with the keys that the module's docstring names.

    Returns:
        list of dicts, as `models` of metrics.json.
    """
    values = {
        "frechet": lambda run: run["frechet_trials"]["mean"],
        "kernel": lambda run: run["kernel_distance"],
    }
    rows = []
    for name, own in runs.items():
        minus_full = None
        if name != "full" and "full" in runs:
            full = {run["seed"]: run for run in runs["full"]}
            pairs = [(run, full[run["seed"]]) for run in own if run["seed"] in full]
            minus_full = {
                kind: over_seeds([value(run) - value(twin) for run, twin in pairs])
                for kind, value in values.items()
            }
        paper = MODELS[name]["paper"]
        rows.append(
            {
                "model": name,
                "label": MODELS[name]["label"],
                "switches": MODELS[name]["switches"],
                "runs": list(own),
                "over_seeds": {
                    kind: over_seeds([value(run) for run in own])
                    for kind, value in values.items()
                },
                "minus_full": minus_full,
                "paper": paper and {"mean": paper[0], "deviation": paper[1]},
            }
        )
    return rows


# === Writing it down ===


def _remarks(metrics: dict[str, Any]) -> list[str]:
    data, rows = metrics["data"], metrics["models"]
    real = metrics["real_real"]
    sample = real["frechet_trials"]["sample_size"]
    features = metrics["embedding"]["features"]
    seeds = rows[0]["over_seeds"]["frechet"]["seeds"]
    remarks = [
        "The paper's numbers are of another data set, embedding and number of images: "
        "only the order of the models and the signs of the differences can be "
        "compared, not the values.",
        f"Intervals over trials span random subsets of {sample} of these images, for "
        "one trained generator. Whether one model is better than another, only "
        "intervals over seeds can tell.",
        "Intervals of differences are not adjusted for the number of comparisons.",
        "All runs trained for equally many steps, whether or not they had converged.",
    ]
    if seeds == 1:
        remarks.append(
            "Each model was trained once: how far models differ by chance is unknown, "
            "and no difference here shows that a part of DermGAN helps or harms."
        )
    elif seeds < 5:
        remarks.append(
            f"With {seeds} seeds, intervals are wide: an interval of a difference that "
            "contains 0 says that none was shown, not that there is none."
        )
    if data["split"] != "test":
        remarks.append(
            f"The maps are those of the {data['split']} split"
            + (
                ": nothing is held out."
                if data["split"] == "train"
                else ", which also decides checkpoints and settings: use test."
            )
        )
    if sample <= features:
        remarks.append(
            f"{sample} images a trial are few for {features} features: all Fréchet "
            "distances here are far above what many images would give."
        )
    if real["images"] < data["images"]:
        remarks.append(
            "There are too few real images of other cases: real against real compares "
            "halves that may show the same cases, which makes that distance too small."
        )
    if "phantom" in data["source"]:
        remarks.append(f"The data are {data['source']}: phantoms are drawn, not real.")
    return remarks


def _sheet(folder, data_dir, judge: DistanceJudge, metrics) -> bytes:
    """The same held-out maps painted by every model's first run."""
    split, source = metrics["data"]["split"], metrics["data"]["source"]
    runs = [row["runs"][0] for row in metrics["models"]]
    rows, labels = [], []
    for position, pair in read_pairs_at(data_dir, split, judge.shown):
        painted = [
            read_photo(shown_file(folder / run["folder"], position)) for run in runs
        ]
        rows.append([pair["semantic_map"], pair["image"], *painted])
        skin_type = pair["fitzpatrick"] or "unknown"
        labels.append(f"{pair['condition']}\nskin type {skin_type}\nseed {position}")
    sheet = contact_sheet(
        rows,
        row_labels=labels,
        column_labels=["map", source, *(row["label"] for row in metrics["models"])],
        title=f"{split} maps of {source} data, and SYNTHETIC images of the same maps",
    )
    text = {
        "synthetic": "true",
        "generator": " ".join(run["generator"] for run in runs),
        "shows": "held-out maps with real and synthetic images",
    }
    return encode_png(sheet, text)


def _write(folder: pathlib.Path, metrics: dict[str, Any], sheet: bytes) -> None:
    write_json(folder / "metrics.json", metrics)
    atomic_write(folder / "table.csv", csv_bytes(_table_csv(metrics)))
    atomic_write(folder / "runs.csv", csv_bytes(_runs_csv(metrics)))
    atomic_write(folder / SHEET_FILE, sheet)
    page = render_page("ablation.html", metrics=metrics, sheet=sheet)
    atomic_write(folder / "report.html", page.encode())


def _table_csv(metrics) -> list[dict[str, Any]]:
    """A row a model; the real images' row has the spread over trials, not seeds."""
    real, trials = metrics["real_real"], metrics["real_real"]["frechet_trials"]
    common = {
        "embedding": metrics["embedding"]["name"],
        "images": metrics["data"]["images"],
        "images_a_trial": trials["sample_size"],
        "trials": trials["trials"],
    }
    rows = [
        {
            "model": "real",
            "label": real["compared"],
            "seeds": None,
            **_fields("frechet", trials),
            **_fields("frechet_minus_full", None),
            **_fields("kernel", {"mean": real["kernel_distance"]}),
            **_fields("kernel_minus_full", None),
            "paper_fid": PAPER["real_real"]["mean"],
            "paper_fid_sd": PAPER["real_real"]["deviation"],
            **common,
        }
    ]
    for row in metrics["models"]:
        minus_full = row["minus_full"] or {}
        rows.append(
            {
                "model": row["model"],
                "label": row["label"],
                "seeds": row["over_seeds"]["frechet"]["seeds"],
                **_fields("frechet", row["over_seeds"]["frechet"]),
                **_fields("frechet_minus_full", minus_full.get("frechet")),
                **_fields("kernel", row["over_seeds"]["kernel"]),
                **_fields("kernel_minus_full", minus_full.get("kernel")),
                "paper_fid": row["paper"] and row["paper"]["mean"],
                "paper_fid_sd": row["paper"] and row["paper"]["deviation"],
                **common,
            }
        )
    return rows


def _runs_csv(metrics) -> list[dict[str, Any]]:
    return [
        {
            "model": row["model"],
            "seed": run["seed"],
            **_fields("frechet_trials", run["frechet_trials"]),
            "frechet_all_images": run["frechet_distance"],
            **_fields("kernel_trials", run["kernel_trials"]),
            "kernel_all_images": run["kernel_distance"],
            "generator": run["generator"],
        }
        for row in metrics["models"]
        for run in row["runs"]
    ]


def _fields(name: str, statistics: Mapping[str, Any] | None) -> dict[str, Any]:
    statistics = statistics or {}
    low, high = statistics.get("interval_95") or (None, None)
    return {
        name: statistics.get("mean"),
        f"{name}_sd": statistics.get("standard_deviation"),
        f"{name}_low": low,
        f"{name}_high": high,
    }
