"""What all tries share."""

import pytest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """`make test` sets these for the notebooks; a try sets its own."""
    for name in ("NOISE_TO_DIGITS_MODE", "NOISE_TO_DIGITS_OUT"):
        monkeypatch.delenv(name, raising=False)
