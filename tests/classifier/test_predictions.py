import dataclasses

import numpy as np
import pytest

from dermgan_tf.classifier.predictions import (
    read_predictions,
    require_same_photos,
    write_predictions,
)
from dermgan_tf.errors import InputError
from tests.helpers.prediction_sets import predictions

TEXT = """image_id,case_id,fitzpatrick,condition,p:acne,"p:nevus, blue"
a,c1,,acne,0.75,0.25
b,c1,6,"nevus, blue",0.5,0.5
c,c2,1,acne,1,0
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "test.csv"


def test_reads_the_documented_form(file):
    file.write_text(TEXT, "utf-8")
    found = read_predictions(file)
    assert found.image_ids.tolist() == ["a", "b", "c"]
    assert found.cases.tolist() == ["c1", "c1", "c2"]
    assert found.skin_types.tolist() == [0, 6, 1]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.probabilities.tolist() == [[0.75, 0.25], [0.5, 0.5], [1, 0]]
    assert found.conditions == ("acne", "nevus, blue")
    assert found.source == str(file) and len(found.digest) == 64
    for text in (
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace(",,", ",0,"),
    ):
        file.write_bytes(text.encode())
        again = read_predictions(file)
        assert again.skin_types.tolist() == [0, 6, 1] and len(again) == 3


def test_what_is_written_is_read(file):
    rng = np.random.default_rng(0)
    given = predictions(
        rng.integers(4, size=20),
        rng.dirichlet(np.full(4, 0.1), size=20),
        rng.integers(9, size=20),
        rng.integers(7, size=20),
        ("a", 'b "quoted"', "c,d", "Größe"),
    )
    write_predictions(file, given)
    found = read_predictions(file)
    for field in dataclasses.fields(given):
        if field.name == "probabilities":
            np.testing.assert_allclose(found.probabilities, given.probabilities, 1e-8)
        elif field.name not in ("source", "digest"):
            np.testing.assert_array_equal(
                getattr(found, field.name), getattr(given, field.name)
            )


def test_what_could_not_be_read_is_not_written(file):
    with pytest.raises(InputError, match="sum to 0.9"):
        write_predictions(file, predictions([0, 1], [[0.4, 0.5], [0.5, 0.5]]))
    assert not file.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TEXT, "", "is empty"),
        (TEXT, " \n\n", "is empty"),
        (TEXT, "<!DOCTYPE html><html></html>\n", "line 1: this is HTML"),
        (TEXT, TEXT.splitlines(True)[0], "no rows"),
        (TEXT, TEXT[:-1], "line 4 has no end: the file is cut off"),
        (TEXT, TEXT[:-9] + "\n", "line 4 has 4 of 6 columns"),
        ("image_id,", "id,", "line 1: columns begin with 'id,case_id"),
        ("p:acne", "acne", "line 1: column 'acne' is not named p:CONDITION"),
        ('"p:nevus, blue"', "p:acne", "line 1: condition 'acne' stands twice"),
        (TEXT, TEXT.replace(',"p:nevus, blue"', ""), "two conditions or more"),
        ("\na,", "\n,", "line 2: no image_id"),
        ("\nc,", "\na,", "line 4: image_id 'a' stands on line 2 too"),
        ("c,c2", "c,", "line 4: no case_id"),
        (",6,", ",7,", "line 3: fitzpatrick '7' is not 1…6"),
        (",6,", ",VI,", "line 3: fitzpatrick 'VI'"),
        ("1,acne,", "1,eczema,", "line 4: condition 'eczema' has no column p:eczema"),
        ("0.75", "nan", "line 2: nan for 'acne' is not a probability"),
        ("0.75", "high", "line 2: 'high' is not a probability"),
        ("0.75", "", "line 2: '' is not a probability"),
        ("0.75,0.25", "1.25,-0.25", "line 2: 1.25 for 'acne'"),
        ("0.75", "0.74", "line 2: probabilities sum to 0.99, not to 1"),
        ('"nevus, blue",0.5', '"nevus, blue,0.5', "line "),
    ],
)
def test_bad_files_are_refused_by_line(file, old, new, message):
    assert old in TEXT
    file.write_text(TEXT.replace(old, new), "utf-8")
    with pytest.raises(InputError) as error:
        read_predictions(file)
    assert message in str(error.value) and str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(file):
    file.write_bytes(TEXT.encode() + b"d,c\xff,1,acne,1,0\n")
    with pytest.raises(InputError, match="line 5: not UTF-8"):
        read_predictions(file)


def test_photos_are_brought_into_one_order():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], size=6)
    first = predictions([0, 1, 2, 0, 1, 2], probabilities, [0, 0, 1, 2, 3, 4])
    same = require_same_photos(first, first.take([3, 1, 5, 0, 2, 4]))
    np.testing.assert_array_equal(same.image_ids, first.image_ids)
    np.testing.assert_array_equal(same.probabilities, first.probabilities)


def test_other_photos_are_refused():
    first = predictions([0, 1, 0], [[0.6, 0.4]] * 3)

    def refused(message, other):
        other = dataclasses.replace(other, source="other.csv")
        with pytest.raises(InputError) as error:
            require_same_photos(first, other)
        assert message in str(error.value) and "other.csv" in str(error.value)

    refused("lacks image 'i2'", first.take([0, 1]))
    with pytest.raises(InputError, match="other.csv: lacks image 'i2'"):
        require_same_photos(
            first, dataclasses.replace(first.take([0, 1]), source="other.csv")
        )
    extra = predictions([0, 1, 0, 1], [[0.6, 0.4]] * 4)
    refused("predictions.csv: lacks image 'i3'", extra)
    refused(
        "image 'i1' has condition 'k0'",
        dataclasses.replace(first, labels=np.zeros(3, int)),
    )
    refused(
        "image 'i2' has skin type 3",
        dataclasses.replace(first, skin_types=np.array([0, 0, 3])),
    )
    refused(
        "image 'i0' has case 'c9'",
        dataclasses.replace(first, cases=np.array(["c9", "c1", "c2"])),
    )
    refused("vocabularies differ", dataclasses.replace(first, conditions=("k1", "k0")))
