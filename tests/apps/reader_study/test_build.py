"""What is drawn, and that files and folders tell nothing of it."""

import collections
import io
import json
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.apps.reader_study.build import (
    Settings,
    build_study,
    read_introduction,
    require_no_answers,
)
from dermgan_tf.apps.reader_study.encoding import COMMENT, encode_blind
from dermgan_tf.apps.reader_study.pools import Candidate, GeneratedPool
from dermgan_tf.apps.reader_study.sampling import draw_study
from dermgan_tf.apps.reader_study.study import read_key, read_study
from dermgan_tf.errors import InputError
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.study_pools import (
    CONDITIONS,
    ArrayPool,
    candidates,
    make_study,
    noise_image,
    pools,
    write_generated,
)

KINDS = ("real", "synthetic")


def draw(real=None, synthetic=None, counts=(20, 20), questions=4, images=8, seed=0):
    both = {
        "real": real or candidates("real", 300, 0),
        "synthetic": candidates("synthetic", 300, 1)
        if synthetic is None
        else synthetic,
    }
    counts = dict(zip(KINDS, counts, strict=True))
    return both, draw_study(both, counts, questions, images, seed)


def cells(pool, places):
    return collections.Counter((pool[p].condition, pool[p].fitzpatrick) for p in places)


def test_part_1_shows_alike_of_each_condition_and_skin_type():
    both, drawn = draw(counts=(36, 36))
    real, synthetic = (cells(both[k], drawn.turing[k]) for k in KINDS)
    assert real == synthetic and set(real.values()) == {2} and len(real) == 18
    assert drawn.notes == []


def test_no_image_comes_twice_and_cases_are_spread():
    both, drawn = draw(counts=(40, 40), questions=6)
    for kind in KINDS:
        used = drawn.turing[kind] + [
            p for q in drawn.recognition for p in q.images[kind]
        ]
        assert len(used) == 40 + 6 * 4 == len(set(used))
    one_case = [Candidate("real", "eczema", frozenset(["eczema"]), 1, "a", "")] * 20
    other = [Candidate("real", "eczema", frozenset(["eczema"]), 1, "b", "")]
    made = candidates("synthetic", 10, 0, ["eczema"], 1)
    _, drawn = draw(one_case + other, made, (2, 2), 0)
    assert 20 in drawn.turing["real"]


def test_part_2_mixes_and_its_count_tells_nothing():
    both, drawn = draw(questions=12)
    shown = collections.Counter()
    for question in drawn.recognition:
        for kind in KINDS:
            targets = [
                question.condition in both[kind][place].shows
                for place in question.images[kind]
            ]
            assert len(targets) == 4 and 1 <= sum(targets) <= 3
            shown[sum(targets)] += 1
    assert set(shown) == {1, 2, 3}
    asked = collections.Counter(q.condition for q in drawn.recognition)
    assert set(asked.values()) == {4}


def test_what_shows_the_condition_besides_is_no_distractor():
    mixed = frozenset(["eczema", "melanoma"])
    real = [Candidate("real", "melanoma", mixed, 1, str(i), "") for i in range(50)]
    real += [Candidate("real", "eczema", mixed, 1, str(i), "") for i in range(50)]
    with pytest.raises(InputError, match="part 2 wants 1 questions"):
        draw(real, candidates("synthetic", 90), (2, 2), 1)


def test_the_seed_decides():
    assert draw(seed=5)[1] == draw(seed=5)[1] != draw(seed=6)[1]


def test_too_few_images():
    with pytest.raises(InputError, match="wants 20 synthetic images, there are 9"):
        draw(synthetic=candidates("synthetic", 9))
    with pytest.raises(InputError, match="for 0; ask for fewer"):
        draw(
            candidates("real", 99, 0, ["acne"]),
            candidates("synthetic", 99, 0, ["acne"]),
        )
    with pytest.raises(InputError, match="want an even number"):
        draw(images=7)


def test_pools_that_do_not_match_are_told_of():
    unknown = [
        Candidate("real", c.condition, c.shows, 0, c.case, "")
        for c in candidates("real", 200)
    ]
    both, drawn = draw(real=unknown)
    conditions = [
        collections.Counter(both[k][p].condition for p in drawn.turing[k])
        for k in KINDS
    ]
    assert conditions[0] == conditions[1]
    assert len(drawn.notes) == 1 and "only 0 of 20" in drawn.notes[0]
    _, drawn = draw(synthetic=candidates("synthetic", 90, 1, ["acne"]), questions=0)
    assert "conditions tell" in drawn.notes[0]
    assert [len(drawn.turing[kind]) for kind in KINDS] == [20, 20]


def segments(data):
    """(marker, payload) of a JPEG up to its scan, by ITU-T T.81."""
    place, found = 2, []
    while True:
        marker, size = (
            data[place + 1],
            int.from_bytes(data[place + 2 : place + 4], "big"),
        )
        found.append((marker, data[place + 4 : place + 2 + size]))
        place += 2 + size
        if marker == 0xDA:
            return found


def test_files_are_alike_but_for_their_pixels():
    rng = np.random.default_rng(0)
    smooth = np.full((64, 64, 3), 150, np.uint8)
    rough = rng.integers(0, 255, (96, 96, 3), np.uint8)
    files = encode_blind([smooth, rough, noise_image(64, 1)], 64, 90)
    assert len({len(data) for data in files}) == 1
    heads = []
    for data in files:
        found = segments(data)
        comment = next(payload for marker, payload in found if marker == 0xFE)
        assert comment.startswith(COMMENT)
        heads.append([(m, p) for m, p in found if m != 0xFE])
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == (64, 64) and image.getexif() == {}
            assert set(image.info) <= {
                *("jfif", "jfif_version", "jfif_unit", "jfif_density", "comment")
            }
    assert heads[0] == heads[1] == heads[2]  # tables, components, all headers
    back = np.asarray(Image.open(io.BytesIO(files[0])))
    np.testing.assert_allclose(back, smooth, atol=3)


def test_long_files_take_several_comments():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (512, 512, 3), np.uint8)
    short, long = encode_blind([np.zeros((512, 512, 3), np.uint8), noise], 512, 95)
    assert len(short) == len(long) > 3 * 65537
    assert np.asarray(Image.open(io.BytesIO(short))).max() == 0


def test_images_are_never_enlarged():
    with pytest.raises(InputError, match="is 32 × 32 pixels, the study's are 64 × 64"):
        encode_blind([noise_image(32, 0)], 64, 90)


def byte_features(data):
    """What a look at a file gives without decoding it."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    tables = b"".join(payload for marker, payload in segments(data) if marker == 0xDB)
    return [len(data), len(data.rstrip(b" ")), len(tables), *tables, *counts]


def classifier_p(features, labels, permutations=999, folds=4, penalty=10.0):
    """Permutation test (Ojala and Garriga 2010) of a ridge classifier's accuracy.

    Its predictions are linear in the labels, so that all permutations are one product.
    """
    features = features - features.mean(axis=0)
    spread = features.std(axis=0)
    features = features[:, spread > 0] / spread[spread > 0]
    rng = np.random.default_rng(0)
    signs = np.where(labels, 1.0, -1.0)
    # The first column is the truth.
    signs = np.stack([signs, *(rng.permutation(signs) for _ in range(permutations))], 1)
    fold = rng.permutation(len(labels)) % folds
    right = np.zeros(permutations + 1)
    for number in range(folds):
        train, test = features[fold != number], features[fold == number]
        kernel = train @ train.T + penalty * np.eye(len(train))
        said = test @ train.T @ np.linalg.solve(kernel, signs[fold != number])
        right += np.sum(np.sign(said) == signs[fold == number], axis=0)
    return np.mean(right >= right[0])


def test_bytes_do_not_tell_what_pixels_do_not(tmp_path):
    """Real images were photographs' JPEGs; synthetic ones PNG, with texts."""
    import dermgan_tf.photos.photo_io as photo_io

    class Photographs(ArrayPool):
        def images(self, places):
            for place, image in super().images(places):
                # Some decoders' history: the pixels differ by it in nothing else.
                path = tmp_path / "photo.png"
                path.write_bytes(photo_io.encode_png(image, {"Software": "camera"}))
                yield place, photo_io.read_photo(path)

    both = {
        "real": Photographs(candidates("real", 150, 0), 32, 0),
        "synthetic": ArrayPool(candidates("synthetic", 150, 1), 32, 1),
    }
    build_study(tmp_path / "study", both, Settings(60, 60, 0))
    study = read_study(tmp_path / "study")
    key = read_key(study)
    names = sorted(key)
    data = [study.image_path(name).read_bytes() for name in names]
    labels = np.array([key[name].kind == "real" for name in names])
    features = np.array([byte_features(one) for one in data])
    assert classifier_p(features, labels) > 0.05
    # The test has teeth: a difference in quality is found at once.
    worse = encode_blind([noise_image(32, [9, i]) for i in range(60)], 32, 80)
    features = np.array([byte_features(one) for one in data[:60] + worse])
    assert classifier_p(features, np.repeat([0, 1], 60)) <= 0.02


def test_names_order_and_times_tell_nothing(tmp_path):
    study, store, _ = make_study(tmp_path / "a", real=40, synthetic=40, questions=0)
    other, store2, _ = make_study(tmp_path / "b", real=40, synthetic=40, questions=0)
    key = read_key(study)
    assert not set(key) & set(read_key(other))  # the same seed: other names
    assert all(re.fullmatch(r"[0-9a-f]{32}\.jpg", name) for name in key)
    kinds = [key[name].kind == "real" for name in study.names("turing")]
    runs = 1 + sum(a != b for a, b in zip(kinds, kinds[1:], strict=False))
    assert 20 < runs < 62  # Wald and Wolfowitz: 41 ± 4.4
    files = list((study.folder / "served/images").iterdir())
    assert len({file.stat().st_mtime_ns for file in files}) == 1
    assert len({file.stat().st_size for file in files}) == 1
    store.close(), store2.close()


def test_what_is_served_holds_no_key(tmp_path):
    study, store, codes = make_study(tmp_path / "study")
    store.close()
    key = read_key(study)
    text = (study.folder / "served/study.json").read_text()
    record = json.loads(text)
    for question in record["questions"]:
        assert set(question) == {"name", "part", "images", "condition"}
        assert question["images"] == sorted(question["images"])
    assert "synthetic case" not in text and "test/" not in text
    answers = (study.folder / "answers.sqlite").read_bytes()
    for path in study.folder.rglob("*"):
        if path.is_file() and path.name != "participants.csv":
            data = path.read_bytes()
            assert not any(code.encode() in data for code in codes), path
    assert not any(name.encode() in answers for name in key)
    for name in ("key.csv", "answers.sqlite"):
        mode = stat.S_IMODE((study.folder / name).stat().st_mode)
        assert mode == 0o600
    assert stat.S_IMODE(study.folder.stat().st_mode) == 0o700


def test_half_and_damaged_studies(tmp_path):
    study, store, _ = make_study(tmp_path / "study")
    store.close()
    names = sorted(read_key(study))
    for folder, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "is not a whole study"),
    ):
        with pytest.raises(InputError, match=message):
            read_study(folder)
    study.image_path(names[0]).unlink()
    with pytest.raises(InputError, match=f"1 of 20 images are missing.*{names[0]}"):
        read_study(study.folder)
    study.image_path(names[0]).write_bytes(b"other")
    with pytest.raises(InputError, match="1 of 20 images are damaged"):
        read_study(study.folder)
    path = study.folder / "served/study.json"
    for text in ("{", "[]", '{"format_version": 1}', '{"format_version": 2}'):
        path.write_text(text)
        with pytest.raises(InputError, match="damaged|format 2"):
            read_study(study.folder)


def test_keys_of_other_studies(tmp_path):
    study, store, _ = make_study(tmp_path / "a")
    other, store2, _ = make_study(tmp_path / "b")
    store.close(), store2.close()
    (study.folder / "key.csv").write_bytes((other.folder / "key.csv").read_bytes())
    with pytest.raises(InputError, match="key of another study: 20 of 20"):
        read_key(study)
    (study.folder / "key.csv").write_text("image,part\nx,y\n")
    with pytest.raises(InputError, match=r"key.csv is damaged"):
        read_key(study)
    (study.folder / "key.csv").unlink()
    with pytest.raises(InputError, match="answer key nothing can be counted"):
        read_key(study)


def test_generated_folders(tmp_path):
    folder = write_generated(tmp_path / "images", 6)
    pool = GeneratedPool(folder, Vocabulary(CONDITIONS))
    assert [c.kind for c in pool.candidates] == ["synthetic"] * 6
    (place, image), *_ = pool.images([4])
    assert place == 4 and np.array_equal(image, noise_image(64, [7, 4]))
    with pytest.raises(InputError, match="vocabularies differ.*'psoriasis'"):
        GeneratedPool(folder, Vocabulary(CONDITIONS[:2]))
    (folder / "images/000004.png").write_bytes(photo())
    with pytest.raises(InputError, match="000004.png: does not say synthetic=true"):
        list(pool.images([4]))
    (folder / "images/000004.png").unlink()
    with pytest.raises(InputError, match="000004.png: does not exist"):
        list(pool.images([4]))


def photo():
    from dermgan_tf.photos.photo_io import encode_png

    return encode_png(noise_image(64, 0))


def test_answers_are_not_built_over(tmp_path):
    study, store, _ = make_study(tmp_path / "study")
    require_no_answers(study.folder)
    require_no_answers(tmp_path / "none")
    store.record(1, study.names("turing")[0], "real", None, None)
    with pytest.raises(InputError, match="holds 1 answers.*move it away"):
        require_no_answers(study.folder)
    store.close()


def test_settings_and_introductions(tmp_path):
    for settings, message in (
        (Settings(0, 5, 1), "needs real and synthetic images"),
        (Settings(0, 0, 0), "without images"),
        (Settings(title=" "), "title"),
        (Settings(title="a\nb"), "title"),
    ):
        with pytest.raises(InputError, match=message):
            build_study(tmp_path / "x", pools(), settings)
    path = tmp_path / "text.txt"
    path.write_text("One\nline.\n\n\n<b>Two</b>\n")
    assert read_introduction(path) == ("One line.", "<b>Two</b>")
    path.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_introduction(path)
    with pytest.raises(InputError, match="cannot read"):
        read_introduction(tmp_path)


def test_the_key_is_utf_8_whatever_the_locale(tmp_path):
    code = (
        "import sys; from dermgan_tf.apps.reader_study.study import KEY_COLUMNS, "
        "KeyLine, write_key\n"
        "line = {name: '\\u6e7f\\u75b9 \\xe9' for name in KEY_COLUMNS}\n"
        "line |= {'shows': ('\\u6e7f\\u75b9',), 'fitzpatrick': 3}\n"
        "write_key(sys.argv[1], [KeyLine(**line)])\n"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "key.csv"
    subprocess.run([sys.executable, "-c", code, path], check=True, env=plain)
    assert "湿疹 é" in path.read_text("utf-8")
