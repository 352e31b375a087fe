import pytest

import dermgan_tf as dg
from dermgan_tf.errors import InputError


def test_positions_and_length():
    vocabulary = dg.Vocabulary(["melanoma", "eczema"])
    assert vocabulary.conditions == ("melanoma", "eczema")
    assert [vocabulary.index(name) for name in vocabulary] == [0, 1]
    assert len(vocabulary) == 2
    assert dg.Vocabulary(vocabulary) == vocabulary


def test_dermgan_conditions_are_26_and_other():
    assert len(dg.DERMGAN_CONDITIONS) == 27
    assert dg.DERMGAN_CONDITIONS.conditions[-1] == "other"
    assert "SK/ISK" in dg.DERMGAN_CONDITIONS


@pytest.mark.parametrize(
    "names",
    [[], ["a", "a"], [""], ["  "], [3], "melanoma", ["line\nbreak"], ["c"] * 61],
)
def test_bad_lists_are_refused(names):
    with pytest.raises(InputError):
        dg.Vocabulary(names)


def test_unknown_condition_names_it_and_the_known():
    with pytest.raises(InputError, match="'acne'.*melanoma, eczema"):
        dg.Vocabulary(["melanoma", "eczema"]).index("acne")


def test_first_difference_is_named():
    ours = dg.Vocabulary(["melanoma", "eczema", "acne"])
    with pytest.raises(
        InputError, match="position 1: data has 'eczema', model.*'tinea'"
    ):
        ours.require_equal(dg.Vocabulary(["melanoma", "tinea"]), "data", "model")
    with pytest.raises(InputError, match="data has 3 conditions, model has 2"):
        ours.require_equal(dg.Vocabulary(["melanoma", "eczema"]), "data", "model")
    ours.require_equal(dg.Vocabulary(["melanoma", "eczema", "acne"]), "data", "model")
