"""Who is measured together: groups of contenders, by task and case."""

import dataclasses
import functools
import json
import multiprocessing
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import Any

from benchmarks import contenders, interleave
from benchmarks.contenders import Case

DTYPES = ("float32", "bfloat16")
# ResizeConv2D's forms, and what it stands in for.
OWN_FORMS = ("two_step", "folded", "winograd", "subpixel", "transposed_conv")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        image_size: int. Pixels.
        base_filters, batch_sizes, dtypes: of the networks; every combination is
            measured.
        matrix_sizes: sides of the matrices that the limit is measured with.
        phantom_cases: int. Of the phantom pairs and photos worked on.
        features, samples: of the activations for the Fréchet distance.
    """

    image_size: int = 256
    base_filters: tuple[int, ...] = (64, 32)
    batch_sizes: tuple[int, ...] = (1, 4)
    dtypes: tuple[str, ...] = DTYPES
    matrix_sizes: tuple[int, ...] = (2048, 3072, 4096)
    phantom_cases: int = 40
    features: int = 2048
    samples: int = 5000

    def cases(self) -> Iterator[Case]:
        for base_filters in self.base_filters:
            for batch_size in self.batch_sizes:
                for dtype in self.dtypes:
                    yield Case(dtype, self.image_size, base_filters, batch_size)


TINY = Scale(
    image_size=64,
    base_filters=(2,),
    batch_sizes=(2,),
    matrix_sizes=(64,),
    phantom_cases=6,
    features=16,
    samples=40,
)


@dataclasses.dataclass(frozen=True)
class Group:
    """Contenders that share rounds.

    Args:
        task: e.g. "training".
        case: what they compute, as JSON can hold it.
        unit: of the contenders' values.
        contenders: name -> contender, for `interleave.measure`.
    """

    task: str
    case: dict[str, Any]
    unit: str
    contenders: dict[str, Callable]

    def only(self, names: Collection[str]) -> "Group":
        """The group with these contenders alone, where it has them."""
        kept = {name: c for name, c in self.contenders.items() if name in names}
        return dataclasses.replace(self, contenders=kept)

    def measure(
        self, rounds: int, slice_seconds: float, progress: Callable
    ) -> dict[str, dict[str, Any]]:
        """The results by contender; see `interleave.measure`."""
        return interleave.measure(self.contenders, rounds, slice_seconds, progress)


@dataclasses.dataclass(frozen=True)
class LoadingGroup(Group):
    """Loading pairs, which benchmarks/loading.py measures by itself."""

    data_dir: pathlib.Path

    def measure(self, rounds, slice_seconds, progress):
        output = self.data_dir.parent / "loading.json"
        for _ in progress(["loading"], desc="measuring"):
            _run_program(
                "benchmarks.loading", f"--data_dir={self.data_dir}", f"--out={output}"
            )
        rates = json.loads(output.read_text("utf-8"))
        del rates["unit"]
        names = sorted(rates, key=lambda name: name != "ours")  # ours first
        return {name: {"values": rates[name]} for name in names}


@dataclasses.dataclass(frozen=True)
class LayersGroup(Group):
    """The parts of a training step, which benchmarks/layers.py measures by itself."""

    def measure(self, rounds, slice_seconds, progress):
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "layers.json"
            for _ in progress(["layers"], desc="measuring"):
                _run_program(
                    "benchmarks.layers",
                    f"--out={output}",
                    f"--rounds={rounds}",
                    f"--seconds={slice_seconds / 20}",
                    *(f"--{name}={value}" for name, value in self.case.items()),
                )
            return json.loads(output.read_text("utf-8"))


def training(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """The bare training step, on a fixed batch."""
    for case in scale.cases():
        yield _network_group(
            "training",
            case,
            {
                "ours": functools.partial(contenders.train_ours, case),
                "ours_one_thread_an_operation": functools.partial(
                    contenders.train_ours, case, thread_an_operation=True
                ),
                "pytorch": functools.partial(contenders.train_pytorch, case),
                **_by_upsampling(contenders.train_keras_pix2pix, case),
                **_multiplications(scale, case),
            },
        )


def forms(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """Our training step with all ResizeConv2D layers in one form."""
    for case in scale.cases():
        if case.batch_size == max(scale.batch_sizes):
            names = ("auto", *OWN_FORMS)
            yield _network_group(
                "forms",
                case,
                {
                    "ours" if form == "auto" else f"ours_{form}": functools.partial(
                        contenders.train_ours, case, form=form
                    )
                    for form in names
                },
            )


def layers(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """What a training step's time goes into."""
    for case in scale.cases():
        if case.base_filters == max(scale.base_filters):
            yield LayersGroup(
                "layers", dataclasses.asdict(case), "seconds", {"ours": None}
            )


def inference(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """Painting a fixed batch with the exported generator."""
    pytorch = contenders.paint_pytorch
    for case in scale.cases():
        ways = {"pytorch": "eager", "pytorch_frozen": "frozen"}
        if case.half:
            ways["pytorch_half"] = "half"
        yield _network_group(
            "inference",
            case,
            {
                "ours": functools.partial(_export_and_paint, case, str(folder)),
                **{
                    name: functools.partial(pytorch, case, way=way)
                    for name, way in ways.items()
                },
                **_by_upsampling(contenders.paint_keras_pix2pix, case),
                **_multiplications(scale, case),
            },
        )


def fit(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """`fit` with pairs from disk, against the bare step."""
    pairs = phantom_pairs(scale, folder)
    for case in scale.cases():
        yield _network_group(
            "fit",
            case,
            {
                "fit": functools.partial(contenders.fit_ours, case, str(pairs)),
                "step": functools.partial(contenders.train_ours, case),
            },
        )


def loading(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """Loading pairs from disk, against decoding their images alone."""
    pairs = phantom_pairs(scale, folder)
    case = {"image_size": scale.image_size}
    yield LoadingGroup("loading", case, "pairs/s", {"ours": None}, pairs)


def preparing(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """Cutting pairs from photographs on disk, against the least that it takes."""
    photos = phantom_photos(scale, folder)
    size = scale.image_size
    yield Group(
        "preparing",
        {"image_size": size, "crops_per_photo": contenders.CROPS_PER_PHOTO},
        "crops/s",
        {
            "ours": functools.partial(contenders.prepare_pairs, str(photos), size),
            "bare": functools.partial(contenders.prepare_bare, str(photos), size),
        },
    )


def phantoms(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """Drawing phantom photographs."""
    cases = scale.phantom_cases
    yield Group(
        "phantoms",
        {"photo_size": [480, 640]},
        "photos/s",
        {"ours": functools.partial(contenders.draw_phantoms, cases)},
    )


def frechet(scale: Scale, folder: pathlib.Path) -> Iterator[Group]:
    """The Fréchet distance, against TF-GAN's."""
    shape = scale.samples, scale.features
    yield Group(
        "frechet",
        {"samples": scale.samples, "features": scale.features},
        "distances/s",
        {
            "ours": functools.partial(contenders.frechet_ours, shape),
            "tfgan": functools.partial(contenders.frechet_tfgan, shape),
        },
    )


TASKS = {
    function.__name__: function
    for function in (
        training,
        inference,
        forms,
        layers,
        fit,
        loading,
        preparing,
        phantoms,
        frechet,
    )
}


def phantom_pairs(scale: Scale, folder: pathlib.Path) -> pathlib.Path:
    """Pairs of phantom photographs in `folder`, made once."""
    path = folder / "pairs"
    if not path.exists():
        _run_program(
            "pipelines.prepare_pairs",
            "--phantom",
            f"--phantom_cases={scale.phantom_cases}",
            f"--image_size={scale.image_size}",
            f"--output_dir={path}",
        )
    return path


def phantom_photos(scale: Scale, folder: pathlib.Path) -> pathlib.Path:
    """Phantom photographs as JPEG files in `folder`, made once."""
    from dermgan_tf.phantom import write_phantom

    path = folder / "photos"
    if not path.exists():
        write_phantom(path, scale.phantom_cases)
    return path


def _run_program(module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _network_group(task: str, case: Case, chosen: dict[str, Callable]) -> Group:
    return Group(task, dataclasses.asdict(case), "images/s", chosen)


def _export_and_paint(case: Case, folder: str, stopwatch) -> None:
    """Exports in another process, so that this one is plain TensorFlow alone."""
    with tempfile.TemporaryDirectory(dir=folder) as path:
        exporting = multiprocessing.get_context("spawn").Process(
            target=contenders.export_ours, args=(case, path)
        )
        exporting.start()
        exporting.join()
        if exporting.exitcode:
            raise RuntimeError(f"the export ended with {exporting.exitcode}")
        contenders.paint_ours(case, path, stopwatch)


def _by_upsampling(keras_pix2pix: Callable, case: Case) -> dict[str, Callable]:
    return {
        name: functools.partial(keras_pix2pix, case, upsampling=upsampling)
        for name, upsampling in (
            ("keras_transposed", "transposed_conv"),
            ("keras_resize", "resize_conv"),
        )
    }


def _multiplications(scale: Scale, case: Case) -> dict[str, Callable]:
    """What the limit is measured with; NumPy has no bfloat16."""
    libraries = ["pytorch", "tensorflow"] + ([] if case.half else ["numpy"])
    return {
        f"multiply_{library}": functools.partial(
            contenders.multiply, case.half, library, scale.matrix_sizes
        )
        for library in libraries
    }
