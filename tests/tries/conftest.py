"""What all tries share."""

import pytest


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
