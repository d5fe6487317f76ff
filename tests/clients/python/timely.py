"""Tests of promises about time."""

import functools

import pytest

TRIES = 5


def timely(test):
    """What a test says of time holds in one of some tries: in the others the machine did something else meanwhile."""

    @functools.wraps(test)
    def tried(*args, model, **fixtures):
        for left in reversed(range(TRIES)):
            try:
                return test(*args, model=f"{model}-{left}", **fixtures)
            except (AssertionError, IndexError, pytest.fail.Exception):
                if not left:
                    raise

    return tried
