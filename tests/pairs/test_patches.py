"""Patches of two domains: what they show, what they hold, what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from dermgan_tf import phantom
from dermgan_tf.errors import InputError
from dermgan_tf.pairs.patches import (
    DOMAINS,
    load_patches,
    read_patches,
    read_patches_info,
)
from dermgan_tf.pairs.prepare import prepare_patches
from dermgan_tf.pairs.sources import (
    PhantomScene,
    annotations_of_folder,
    masked_photos,
    phantom_photos,
)
from dermgan_tf.pairs.windows import PatchFinder, Shares
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.bounded_runs import run_program
from tests.helpers.tiny_patches import LESION, SpotScene, make_tiny_patches, spot_scenes


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_patches(tmp_path_factory.mktemp("data") / "patches")


def patches_of(data_dir, split):
    counts = read_patches_info(data_dir).counts
    return [
        (domain, patch)
        for domain in DOMAINS
        if f"{split}_{domain}" in counts
        for patch in read_patches(data_dir, split, domain)
    ]


def window_of(patch, side=48):
    top, left, bottom, right = np.rint(patch["window"] * side).astype(int)
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize("seed", range(6))
def test_a_window_is_found_where_there_is_one(seed):
    rng = np.random.default_rng(seed)
    skin = np.zeros((30, 24), bool)
    skin[3 : 3 + rng.integers(8, 20), 2 : 2 + rng.integers(8, 20)] = True
    pathology = skin & (rng.random(skin.shape) < 0.02)
    shares = Shares((0.9, 1.0), (0.0, 0.03))
    side = int(rng.integers(8, 14))
    fits = {
        (y, x)
        for y in range(30 - side + 1)
        for x in range(24 - side + 1)
        if skin[y : y + side, x : x + side].mean() >= 0.9
        and pathology[y : y + side, x : x + side].mean() <= 0.03
    }
    finder = PatchFinder(skin, pathology, side, rng)
    found = [finder.find(shares, side) for _ in range(40)]
    if not fits:
        assert found == [None] * 40
        return
    places = {(window.top, window.left) for window in found}
    assert places <= fits and len(places) >= min(len(fits), 3)
    window = found[0]
    inside = (
        slice(window.top, window.top + side),
        slice(window.left, window.left + side),
    )
    assert finder.shares_in(window) == pytest.approx(
        (skin[inside].mean(), pathology[inside].mean())
    )


def test_where_there_is_no_room_a_smaller_window_is_taken():
    skin = np.zeros((40, 40), bool)
    skin[5:25, 5:25] = True
    finder = PatchFinder(skin, np.zeros_like(skin), 16, np.random.default_rng(0))
    window = finder.find(Shares((1.0, 1.0), (0.0, 0.0)), side=30)
    assert window.side in (19, 18)  # 30 · 0.8 · 0.8
    assert finder.find(Shares((0.0, 1.0), (0.1, 1.0)), side=30) is None


def test_patches_show_what_was_asked_for(data_dir):
    scenes = {scene.load(twin=True).photo.tobytes(): scene for scene in spot_scenes()}
    by_case = {}
    for scene in scenes.values():
        by_case.setdefault(scene.case_id, []).append(scene.load(twin=True))
    cases = {}
    for split in ("train", "validation", "test"):
        patches = patches_of(data_dir, split)
        assert {domain for domain, _ in patches} == set(DOMAINS)
        for domain, patch in patches:
            cases.setdefault(patch["case_id"], set()).add(split)
            where = window_of(patch)
            assert any(
                scene.skin[where].mean() == pytest.approx(patch["skin_share"])
                and scene.pathology[where].mean()
                == pytest.approx(patch["pathology_share"])
                for scene in by_case[patch["case_id"]]
            )
            share = patch["pathology_share"]
            assert patch["mask"].mean() == pytest.approx(share, abs=0.06)
            if domain == "healthy":
                assert share == 0 and patch["skin_share"] >= 0.9 - 1e-6
                assert not patch["mask"].any()
                around = tuple(  # two pixels: 4 % of 48
                    slice(max(s.start - 1, 0), s.stop + 1) for s in where
                )
                assert any(
                    not scene.pathology[around].any()
                    for scene in by_case[patch["case_id"]]
                )
            else:
                assert 0.03 - 1e-6 <= share <= 0.5  # kept as float32
                assert patch["skin_share"] >= 0.75 - 1e-6
                dark = np.abs(patch["image"] - np.array(LESION, float)).sum(-1) < 90
                assert (dark == patch["mask"]).mean() > 0.85
            judged = split == "test" and domain == "pathology"
            assert (patch["twin"] is not None) == judged
            if judged:
                same = (patch["twin"] == patch["image"]).all(-1)
                assert same[~patch["mask"]].mean() > 0.8
                assert not same[patch["mask"]].any()
    assert all(len(splits) == 1 for splits in cases.values())


def test_both_domains_have_one_scale(data_dir):
    info = json.loads((data_dir / "patches.json").read_text())
    assert 0.5 < info["side"]["healthy"] / info["side"]["pathology"] <= 1.0
    assert info["conditions"] == ["spot"] and info["source"] == "real"
    assert info["photos"]["train_pathology"] == 8


def test_tensorflow_datasets_opens_it(data_dir):
    builder = tfds.builder_from_directory(str(data_dir))
    counts = read_patches_info(data_dir).counts
    assert {n: s.num_examples for n, s in builder.info.splits.items()} == counts
    patch = next(iter(tfds.as_numpy(builder.as_dataset(split="test_pathology"))))
    assert patch["image"].shape == (16, 16, 3) and patch["mask"].shape == (16, 16, 1)


def test_records_do_not_depend_on_order_or_on_workers(data_dir, tmp_path):
    prepare_patches(
        spot_scenes()[::-1],
        tmp_path / "other",
        image_size=16,
        patches_per_photo=2,
        workers=2,
    )
    ours, theirs = map(read_patches_info, (data_dir, tmp_path / "other"))
    assert ours.fingerprint == theirs.fingerprint


def test_batches_go_on_where_they_were(data_dir):
    def batches(**kwargs):
        dataset = load_patches(data_dir, "train", 3, seed=5, **kwargs)
        return list(dataset.take(9).as_numpy_iterator())

    whole, later = batches(), batches(start_step=4)
    for ours, theirs in zip(later, whole[4:], strict=False):
        for name in ("healthy", "pathology", "mask"):
            np.testing.assert_array_equal(ours[name], theirs[name])
    first = whole[0]
    assert first["healthy"].shape == first["pathology"].shape == (3, 16, 16, 3)
    assert first["mask"].shape == (3, 16, 16, 1)
    lesion = np.array(LESION) / 127.5 - 1
    for batch in whole:  # turned alike
        near = np.abs(batch["pathology"] - lesion).sum(-1) < 0.7
        assert (near == (batch["mask"][..., 0] > 0)).mean() > 0.85
        assert batch["mask"].any(axis=(1, 2, 3)).all()


def test_healthy_twins_of_phantoms():
    vocabulary = Vocabulary(["eczema", "vitiligo", "alopecia areata"])
    for scene in phantom_photos(3, vocabulary, 2, (120, 160), PhantomScene)[::3]:
        what = scene.case, scene.photo_index, vocabulary, scene.size
        sick = phantom.draw_photo(*what)
        healthy = phantom.draw_photo(*what, healthy=True)
        assert healthy.rois == () and not healthy.lesion_mask.any()
        difference = np.abs(sick.photo.astype(int) - healthy.photo).mean(-1)
        mask = sick.lesion_mask
        assert difference[mask].mean() > 5
        far = np.ones(mask.shape, bool)
        for roi in sick.rois:
            box = np.rint(np.array(roi.box) * [120, 160, 120, 160]).astype(int)
            reach = max(box[2] - box[0], box[3] - box[1])
            far[
                max(box[0] - reach, 0) : box[2] + reach,
                max(box[1] - reach, 0) : box[3] + reach,
            ] = False
        assert not difference[far].any()  # nothing else was drawn differently
        loaded = scene.load(twin=True)
        np.testing.assert_array_equal(loaded.photo, sick.photo)
        np.testing.assert_array_equal(loaded.twin, healthy.photo)


@pytest.fixture
def clinic(tmp_path):
    """Photos with masks, some of them bad, in two folders."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(12):
        scene = SpotScene(i).load()
        mask = scene.pathology.astype(np.uint8) * 255
        if i == 0:
            mask = mask[:40]
        if i == 1:
            mask[:] = 0
        photo = scene.photo[:12, :12] if i == 2 else scene.photo
        mask = mask[:12, :12] if i == 2 else mask
        (tmp_path / "images" / f"{i:02}.png").write_bytes(encode_png(photo))
        if i != 3:
            mask = np.repeat(mask[..., np.newaxis], 3, axis=-1)
            (tmp_path / "masks" / f"{i:02}.png").write_bytes(encode_png(mask))
    return tmp_path


def test_bad_photos_are_listed(clinic, tmp_path):
    arguments = (
        f"--images_dir={clinic / 'images'}",
        f"--masks_dir={clinic / 'masks'}",
        f"--output_dir={tmp_path / 'patches'}",
        "--condition=spot",
        "--image_size=16",
        "--workers=1",
    )
    done = run_program("prepare_patches", *arguments, "--max_reject_fraction=0.3")
    assert done.code == 0, done.stderr
    rejects = (tmp_path / "patches" / "rejects.csv").read_text().splitlines()[1:]
    assert sorted(rejects) == [
        '00.png,"mask 00.png is 48 × 40 pixels, the photo 48 × 48"',
        "02.png,is 12 × 12 pixels; at least 16 a side needed",
        "03.png,has no mask 03.*",
    ]
    assert "bad items, see rejects.csv: 3" in done.stdout
    assert "train_healthy" in done.stdout
    record = (tmp_path / "patches" / "run.json").read_text()
    assert str(clinic) not in record
    assert (tmp_path / "patches" / "sheet_train.png").exists()


def test_a_photo_with_an_empty_mask_is_healthy(clinic, tmp_path):
    annotations = annotations_of_folder(clinic / "images", "spot")
    annotations = [dataclasses.replace(a, split="train") for a in annotations]
    photos, rejects = masked_photos(clinic / "images", annotations, clinic / "masks")
    assert [reject.item for reject in rejects] == ["03.png"]
    prepare_patches(photos, tmp_path / "out", 16, workers=1, max_reject_fraction=0.3)
    cases = {
        domain: {
            patch["case_id"]
            for patch in read_patches(tmp_path / "out", "train", domain)
        }
        for domain in DOMAINS
    }
    assert "01.png" in cases["healthy"] | {c + ".png" for c in cases["healthy"]}
    assert not {"01", "01.png"} & cases["pathology"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spot": False}, "training split has no pathology patch: no window shows"),
        ({"split": "test"}, "training split has no healthy patch"),
    ],
)
def test_an_empty_domain_is_an_error(changes, message, tmp_path):
    scenes = [dataclasses.replace(scene, **changes) for scene in spot_scenes()]
    with pytest.raises(InputError, match=message):
        prepare_patches(scenes, tmp_path / "out", 16, workers=1)
    assert not (tmp_path / "out").exists()


def test_bad_arguments(data_dir, tmp_path):
    with pytest.raises(InputError, match="is 48 × 48 pixels, smaller than a patch of"):
        prepare_patches(spot_scenes(), tmp_path / "out", 64, workers=1)
    with pytest.raises(InputError, match="image size 20: want one of 16, 32"):
        prepare_patches(spot_scenes(), tmp_path / "out", 20)
    with pytest.raises(InputError, match="the least first; got 0.5, 0.2"):
        Shares((0.5, 0.2), (0, 1))
    with pytest.raises(InputError, match="not a folder of patches: it has no patches"):
        read_patches_info(tmp_path)
    with pytest.raises(InputError, match="healthy patches, fewer than one batch of 99"):
        load_patches(data_dir, "train", 99)
    with pytest.raises(InputError, match="no healthy patch in split 'prod'; it has"):
        load_patches(data_dir, "prod", 2)


def test_a_damaged_record_is_named(data_dir, tmp_path):
    import shutil

    folder = shutil.copytree(data_dir, tmp_path / "patches")
    shard = next(folder.glob("*train_pathology*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"{shard.name}: corrupted record at \d+"):
        list(read_patches(folder, "train", "pathology"))
    sound = load_patches(folder, "train", 2, skip_corrupt_records=True)
    assert sum(damage.lost for damage in sound.damages) == 1
    assert tf.data.experimental.cardinality(sound) == tf.data.INFINITE_CARDINALITY
