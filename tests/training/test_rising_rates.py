"""A finished run that is asked for more steps says that its rates rise again."""

import pytest

from dermgan_tf.training.run import RunOptions, rising_rates


def earlier(steps, **options):
    return RunOptions(steps=steps, batch_size=2, **options).settled().settings()


@pytest.mark.parametrize(
    "before, now, first_step",
    [
        ({"steps": 100}, {"steps": 100}, 80),  # the same run, resumed
        ({"steps": 100}, {"steps": 200}, 40),  # before any fall
        ({"steps": 100, "decay_steps": 0}, {"steps": 300, "decay_steps": 0}, 100),
        ({"steps": 100}, {"steps": 100, "generator_learning_rate": 1e-9}, 20),
    ],
)
def test_rates_that_do_not_rise_say_nothing(before, now, first_step):
    options = RunOptions(batch_size=2, **now).settled()
    assert rising_rates(earlier(**before), options, first_step) is None
    assert rising_rates({}, options, 0) is None


def test_rates_that_rise_are_told_with_numbers():
    options = RunOptions(steps=200, batch_size=2, generator_learning_rate=1e-3)
    told = rising_rates(
        earlier(100, generator_learning_rate=1e-3), options.settled(), 100
    )
    # The last of 50 falling steps has 1/51 of the rate; step 100 of 200 is the first
    # of a hundred falling ones, with 100/101 of it.
    assert "generator 1.96e-05 to 0.00099" in told
    assert "at step 100" in told and "end at step 100, and is to end at 200" in told
    assert "discriminator" in told and "\n" not in told


def test_a_rate_that_was_asked_for_is_told_too():
    options = RunOptions(steps=100, batch_size=2, discriminator_learning_rate=1e-2)
    told = rising_rates(earlier(100), options.settled(), 10)
    assert "discriminator" in told and "generator" not in told.split("discriminator")[0]
