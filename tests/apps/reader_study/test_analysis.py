"""Numbers of a study, against other people's programs and against known truths."""

import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from benchmarks.reader_study_coverage import Setting, holds, simulate, table_of
from dermgan_tf.apps.reader_study import crossed
from dermgan_tf.apps.reader_study.analysis import (
    agreement,
    analyze,
    chance_p,
    d_prime,
    difference,
)
from dermgan_tf.apps.reader_study.answers import Answers, credible_ms, read_answers
from dermgan_tf.apps.reader_study.study import read_key
from dermgan_tf.errors import InputError
from tests.helpers.study_pools import make_study

NAN = np.nan


def test_two_way_variance_against_the_formula():
    """Cameron, Gelbach and Miller 2011, written out over pairs of answers."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 9))
    values[rng.random((6, 9)) < 0.2] = NAN
    cells = [(r, c) for r, c in np.ndindex(6, 9) if not np.isnan(values[r, c])]
    parts = dict.fromkeys(("row", "column", "both"), 0.0)
    for (r, c), (s, d) in itertools.product(cells, cells):
        product = values[r, c] * values[s, d]
        parts["row"] += product * (r == s) * 6 / 5
        parts["column"] += product * (c == d) * 9 / 8
        n = len(cells)
        parts["both"] += product * ((r, c) == (s, d)) * n / (n - 1)
    expected = max(
        parts["row"] + parts["column"] - parts["both"], parts["row"], parts["column"]
    )
    spread, freedom = crossed.variance(values)
    assert spread == pytest.approx(expected)
    assert freedom >= 5


def test_rates_of_independent_answers_are_wilsons():
    """With one participant, images are the only sample."""
    rng = np.random.default_rng(1)
    values = (rng.random((1, 5000)) < 0.3) * 1.0
    found = crossed.rate(values)
    expected = proportion_confint(values.sum(), 5000, method="wilson")
    assert found["interval_95"] == pytest.approx(expected, abs=1e-4)
    assert found["value"] == values.mean() and found["answers"] == 5000
    assert (found["participants"], found["images"]) == (1, 5000)


def test_rates_at_the_edges():
    for value in (0.0, 1.0):
        found = crossed.rate(np.full((4, 30), value))
        low, high = proportion_confint(value * 30, 30, method="wilson")
        assert found["interval_95"] == pytest.approx([max(low, 0), high])
    assert crossed.rate(np.full((2, 3), NAN))["value"] is None
    single = crossed.rate(np.array([[1.0, NAN]]))
    assert single["value"] == 1 and single["interval_95"] is None


def test_d_prime_is_hautus():
    """Hautus 1995: hits + 0.5 of n + 1; here 7 of 10 and 2 of 8."""
    said = np.array([[1.0] * 7 + [0] * 3 + [1] * 2 + [0] * 6])
    real = np.arange(18) < 10
    found = d_prime(said, real, ~real)
    expected = stats.norm.ppf(7.5 / 11) - stats.norm.ppf(2.5 / 9)
    assert found["value"] == pytest.approx(expected)
    assert found["by_participant"] == [pytest.approx(expected)]
    perfect = np.array([[1.0] * 10 + [0.0] * 8] * 3)
    assert np.isfinite(d_prime(perfect, real, ~real)["value"])
    said[0, 10:] = NAN
    assert d_prime(said, real, ~real)["value"] is None


def test_chance_test_against_all_permutations():
    rng = np.random.default_rng(2)
    said = (rng.random((3, 8)) < 0.5) * 1.0
    said[:, :4] = np.maximum(said[:, :4], rng.random((3, 4)) < 0.5)
    real = np.array([True, True, False, False] * 2)
    strata = [0] * 4 + [1] * 4
    share = said.mean(axis=0)

    def gap(chosen):
        return abs(share[chosen].mean() - share[~chosen].mean())

    alike = []
    for a, b in itertools.product(itertools.combinations(range(4), 2), repeat=2):
        chosen = np.zeros(8, bool)
        chosen[list(a)] = chosen[[4 + i for i in b]] = True
        alike.append(gap(chosen) >= gap(real) - 1e-12)
    found = chance_p(said, real, strata, 20_000, rng)
    assert found == pytest.approx(np.mean(alike), abs=0.015)
    assert chance_p(said, real, range(8), 100, rng) is None


def test_agreement():
    rng = np.random.default_rng(3)
    same = np.repeat((rng.random((1, 60)) < 0.5) * 1.0, 4, axis=0)
    assert agreement(same, 100, rng)["kappa"] == pytest.approx(1)
    random = (rng.random((5, 400)) < 0.5) * 1.0
    found = agreement(random, 200, rng)
    assert found["interval_95"][0] < 0 < found["interval_95"][1]
    random[0, 0] = NAN  # who has not finished is left out
    assert agreement(random, 100, rng)["participants"] == 4
    assert agreement(np.ones((3, 20)), 100, rng)["kappa"] is None
    assert agreement(random[:2], 100, rng)["kappa"] is None


def test_difference_without_one_side():
    said = np.array([[1.0, 0.0, NAN]])
    none = difference(said, np.array([True, True, False]), np.array([0, 0, 1], bool))
    assert none["value"] is None


def test_intervals_hold_known_truths():
    """The benchmark's simulations, a few of them; docs/reader_study.md has many."""
    rng = np.random.default_rng(4)
    setting = Setting("", 10, 40, 40, 0.4, 0.4, 0.3, -0.5)
    tallies = {}
    for _ in range(60):
        for name, (interval, truth) in simulate(setting, rng).items():
            tallies.setdefault(name, []).append(holds(interval, truth))
    for name, happened in tallies.items():
        # 95 % of 60 is 57; fewer than 51 has a chance of less than 1 in 1,000.
        assert sum(happened) >= 51, name


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A study that readers of known rates answered, through the store."""
    folder = tmp_path_factory.mktemp("answered") / "study"
    study, store, _ = make_study(
        folder, 8, real=40, synthetic=40, questions=6, images_per_question=8
    )
    key = read_key(study)
    rng = np.random.default_rng(5)
    rates = {"real": 0.7, "synthetic": 0.4}
    recall = {"real": 0.8, "synthetic": 0.6}
    for person in range(1, 8):  # the eighth does nothing
        for name in study.names("turing"):
            said = "real" if rng.random() < rates[key[name].kind] else "synthetic"
            store.record(person, name, said, 2000, 2100)
        for name in study.names("recognition"):
            question = study.questions[name]
            marked = [
                image
                for image in question.images
                if rng.random()
                < (
                    recall[key[image].kind]
                    if question.condition in key[image].shows
                    else 0.1
                )
            ]
            store.record(person, name, sorted(marked), 9000, None)
    yield study, store
    store.close()


def test_a_study_gives_its_rates_back(answered):
    answers = read_answers(answered[0].folder)
    found = analyze(answers, 200, 999)
    turing, recognition = found["turing"], found["recognition"]
    key, rows = read_key(answered[0]), answered[1].answers()

    def counted(part, **wanted):
        """Share of the stored answers about such images that name the image."""
        said = [
            row["answer"] == "real" if part == "turing" else image in row["answer"]
            for row in rows
            if (question := answered[0].questions[row["question"]]).part == part
            for image in question.images
            if key[image].kind == wanted.get("kind", key[image].kind)
            and wanted.get("shown", question.condition in key[image].shows)
            == (question.condition in key[image].shows)
        ]
        return np.mean(said)

    for rate, value in (
        (turing["true_positive_rate"], counted("turing", kind="real")),
        (turing["false_positive_rate"], counted("turing", kind="synthetic")),
        (recognition["recall_real"], counted("recognition", kind="real", shown=True)),
        (
            recognition["recall_synthetic"],
            counted("recognition", kind="synthetic", shown=True),
        ),
        (
            recognition["false_alarms_real"],
            counted("recognition", kind="real", shown=False),
        ),
    ):
        assert rate["value"] == pytest.approx(value)
    # Image names are random, so are the answers. The intervals are of 95 %: twice as
    # wide, eight of them miss in less than one run of a thousand.
    for rate, truth in (
        (turing["true_positive_rate"], 0.7),
        (turing["false_positive_rate"], 0.4),
        (turing["difference"], 0.3),
        (turing["d_prime"], stats.norm.ppf(0.7) - stats.norm.ppf(0.4)),
        (recognition["recall_real"], 0.8),
        (recognition["recall_synthetic"], 0.6),
        (recognition["false_alarms_real"], 0.1),
        (recognition["difference"], 0.2),
    ):
        low, high = rate["interval_95"]
        half = (high - low) / 2
        assert holds((low - half, high + half), truth), (rate, truth)
    assert turing["p_chance"] == 0.001
    assert turing["true_positive_rate"]["answers"] == 7 * 40
    assert recognition["recall_real"]["participants"] == 7
    assert turing["seconds"]["median"] == 2 and recognition["seconds"]["median"] == 9
    by_condition = turing["by_condition"]
    assert [row["condition"] for row in by_condition] == [
        *("eczema", "melanoma", "psoriasis")
    ]
    images = [row["true_positive_rate"]["images"] for row in by_condition]
    assert sum(images) == 40
    assert abs(turing["agreement"]["kappa"]) < 0.25
    assert len(turing["by_participant"]) == 7 and len(found["people"]) == 8
    assert found["remarks"] == []


def test_remarks(answered):
    answers = read_answers(answered[0].folder)
    table = answers.tables["turing"]
    images = [dataclasses.replace(i, source="phantom") for i in table.images]
    images[0] = dataclasses.replace(images[0], fitzpatrick=0)
    said = table.said[:2].copy()
    said[1, 5:] = NAN
    cut = Answers(
        answers.study,
        {
            "turing": dataclasses.replace(
                table, images=tuple(images), said=said, participants=(1, 2)
            ),
            "recognition": dataclasses.replace(
                answers.tables["recognition"],
                said=answers.tables["recognition"].said[:1],
                participants=(1,),
            ),
        },
        [{"answers": 5, "expected": 86}, {"answers": 86, "expected": 86}],
        [],
        {"turing": np.full((2, 80), 100.0), "recognition": np.full((1, 6), NAN)},
        3,
    )
    text = "\n".join(analyze(cut, 100, 99)["remarks"])
    for part in (
        "80 images that stand for real ones are drawn phantoms",
        "1 of 2 participants who began",
        "part 1 was answered by 2 participants",
        "part 2 was answered by one participant",
        "160 answers took less than 0.3 s",
        "3 times that browsers told",
        "no counterpart",
    ):
        assert part in text, text


def test_times_that_cannot_be():
    for client, server, credible in (
        (500, 600, 500),
        (500, None, 500),
        (1500, 600, 1500),  # within the tolerance
        (2000, 600, None),
        (None, 600, None),
    ):
        answer = {"client_ms": client, "server_ms": server}
        assert credible_ms(answer) == credible


def test_studies_without_answers(tmp_path):
    study, store, _ = make_study(tmp_path / "study")
    store.close()
    with pytest.raises(InputError, match="has no answers yet"):
        read_answers(study.folder)
    (study.folder / "answers.sqlite").unlink()
    with pytest.raises(InputError, match="answers.sqlite is missing"):
        read_answers(pathlib.Path(study.folder))


def test_tables_of_the_simulation():
    setting = Setting("", 4, 5, 6, 0.2, 0.2, 0.0, 0.0)
    said, real, _ = table_of(setting, np.random.default_rng(0))
    assert said.shape == (4, 11) and real.sum() == 5 and set(said.ravel()) == {0, 1}
