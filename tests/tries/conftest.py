"""What all tries share."""

import pytest

from helpers.exercises import answers


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """`make test` sets these for the notebooks; a try sets its own."""
    for name in ("NOISE_TO_DIGITS_MODE", "NOISE_TO_DIGITS_OUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The tries are a tier of their own, `make test-long`: `make test` takes a quarter of an hour without."""
    for item in items:
        if item.path.parent.name == "tries":
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def nothing_noted():
    """What a check notes without a folder lasts as long as the process."""
    answers.forget()
    yield
    answers.forget()
