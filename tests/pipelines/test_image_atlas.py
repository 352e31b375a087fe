"""`image_atlas` as people run it: killed, started again, searched."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.helpers.atlas_images import ALL, ROOT, built, write_photos
from tests.helpers.bounded_runs import run_program
from tests.helpers.study_pools import write_generated

pytest.importorskip("lancedb")

from dermgan_tf.apps.atlas.sources import annotations_source, generated_source
from dermgan_tf.apps.atlas.store import AtlasStore, has_atlas
from dermgan_tf.errors import InputError

COUNT, PAINTED = 60, 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return (
        write_photos(folder / "photos", COUNT, size=64),
        write_generated(folder / "generated", PAINTED),
    )


def build_flags(sources, atlas):
    return [
        *(f"--output_dir={atlas}", f"--annotations={sources[0]}"),
        *(f"--synthetic_dir={sources[1]}", "--workers=1", "--title=Our <b>atlas"),
    ]


def content(path):
    store = AtlasStore(path)
    return {
        one.id: (one, store.picture(one.id), store.vector(one.id).tobytes())
        for one in store.browse(ALL, 10 * COUNT)
    }


def start(sources, atlas, every=1):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.image_atlas", "build"),
            *(*build_flags(sources, atlas), f"--commit_every={every}"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(atlas):
    try:
        return len(AtlasStore(atlas, ready=False)) if has_atlas(atlas) else 0
    except InputError:  # in the middle of its beginning
        return 0


def kill_at(sources, atlas, count):
    """Kills a build with −9 when it has stored so many images."""
    process = start(sources, atlas)
    while stored(atlas) < count and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    """What a build gives that nothing happens to, made in this process."""
    atlas = tmp_path_factory.mktemp("undisturbed") / "atlas"
    opened = [annotations_source(sources[0]), generated_source(sources[1])]
    built(atlas, opened)
    return content(atlas)


def test_a_build_that_is_killed_and_started_again(sources, undisturbed, tmp_path):
    atlas = tmp_path / "atlas"
    assert kill_at(sources, atlas, 3) == -signal.SIGKILL
    before = stored(atlas)
    assert 0 < before < COUNT + PAINTED
    with pytest.raises(InputError, match="is not finished: run the same"):
        AtlasStore(atlas)
    done = run_program("image_atlas", "build", *build_flags(sources, atlas))
    assert done.code == 0, done.stderr
    total = COUNT + PAINTED
    assert f"{total} images of 3 conditions ({total - before} added, " in done.stdout
    assert f"{before} there before, 0 doubled, 0 bad)" in done.stdout
    assert "real: 60\nphantom: 0\nsynthetic: 12\n" in done.stdout
    assert "100%" in done.stderr
    assert content(atlas) == undisturbed
    run = json.loads((atlas / "run.json").read_text())
    assert run["program"] == "image_atlas build"
    assert run["flags"]["annotations"] == ["(a path)"]
    assert (atlas / "rejects.csv").read_text() == "item,reason\n"


@pytest.mark.slow
def test_a_build_that_is_killed_at_any_moment(sources, undisturbed, tmp_path):
    """Also while it makes its tables and its indexes."""
    atlas = tmp_path / "atlas"
    rng = np.random.default_rng(int(os.environ.get("KILL_SEED", "0")))
    for kill in range(12):
        process = start(sources, atlas, every=4)
        if kill % 3 == 0:  # around its beginning, or at once with its end
            while not has_atlas(atlas) and process.poll() is None:
                time.sleep(0.002)
        else:
            time.sleep(float(rng.uniform(1, 8)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = run_program("image_atlas", "build", *build_flags(sources, atlas))
    assert done.code == 0, done.stderr
    assert content(atlas) == undisturbed


@pytest.mark.slow
def test_two_builds_at_once(sources, tmp_path):
    first = start(sources, tmp_path / "atlas")
    while not stored(tmp_path / "atlas"):
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second begins
    try:
        second = run_program(
            "image_atlas", "build", *build_flags(sources, tmp_path / "atlas")
        )
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.code == 1 and "in use by another process" in second.stderr
    assert first.wait(120) == 0


@pytest.mark.slow
def test_search(sources, undisturbed, tmp_path):
    atlas = tmp_path / "atlas"
    opened = [annotations_source(sources[0]), generated_source(sources[1])]
    built(atlas, opened)
    photo = sources[0].parent / "Mrs Plank 0_7.jpg"
    sheet = tmp_path / "found.png"
    done = run_program(
        *("image_atlas", "search", f"--atlas={atlas}", f"--image={photo}"),
        *("--limit=70", f"--contact_sheet={sheet}", "--exact"),
    )
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        *("id", "similarity", "provenance", "type", "condition", "case", "split")
    ]
    assert len(lines) == 72 and lines[1].split()[1:3] == ["1.0000", "real"]
    assert "Plank 0 3" in lines[1]
    assert sum("SYNTHETIC" in line for line in lines) >= 10
    image = Image.open(sheet)
    assert image.info["synthetic"] == "true"
    assert (np.asarray(image) == (255, 209, 102)).all(axis=-1).sum() > 5000

    own = lines[1].split()[0]
    done = run_program(
        *("image_atlas", "search", f"--atlas={atlas}", f"--like={own}"),
        *("--skin_colours", "--limit=2", "--provenance=real"),
    )
    assert done.code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    types = [row[3] for row in rows]
    assert types == sorted(types, key=["I", "II", "III", "IV", "V", "VI"].index)
    assert {row[4] for row in rows} == {lines[1].split()[4]}
    assert own not in {row[0] for row in rows}


@pytest.mark.slow
def test_bad_questions_are_one_line(sources, tmp_path):
    atlas = tmp_path / "atlas"
    built(atlas, [annotations_source(sources[0])])
    (tmp_path / "no photo.jpg").write_text("hello")
    for flags, reason in (
        (["--condition=' OR 1=1 --"], "unknown condition"),
        (["--condition=acne"], "unknown condition 'acne'; known: eczema, melanoma"),
        (["--fitzpatrick=7"], "unknown Fitzpatrick skin type '7'"),
        (["--provenance=fake"], "unknown provenance 'fake'; known: real, phantom"),
        (["--like=../x"], "has no image '../x'"),
        ([f"--image={tmp_path}/no photo.jpg"], "is not an image of a known format"),
        ([f"--image={tmp_path}/none.jpg"], "does not exist"),
        (["--skin_colours"], "--skin_colours wants --like"),
        (["--contact_sheet=x.jpg"], "want a .png file"),
        (["--embedding=no.keras", f"--image={sources[0]}"], "photo"),
    ):
        done = run_program("image_atlas", "search", f"--atlas={atlas}", *flags)
        assert done.code == 1 and reason in done.stderr, (flags, done.stderr)
        assert len(done.stderr.splitlines()) == 1, done.stderr
    for flags, reason in (
        ([], "give --annotations, --data_dir or --synthetic_dir"),
        (["--annotations=none.jsonl"], "cannot read annotations"),
        ([f"--annotations={sources[0]}", "--embedding=vgg"], "unknown embedding"),
    ):
        done = run_program("image_atlas", "build", "--output_dir=/tmp/nowhere", *flags)
        assert done.code == 1 and reason in done.stderr, (flags, done.stderr)
        assert len(done.stderr.splitlines()) == 1, done.stderr
    done = run_program("image_atlas", "serve", f"--atlas={tmp_path}")
    assert done.code == 1 and "is no atlas" in done.stderr
    done = run_program("image_atlas", "dance")
    assert done.code == 2 and "want one of build, search, serve" in done.stderr
