"""How many tries there are."""

from pathlib import Path

import pytest


class Counter:
    """A plugin of pytest that keeps what was collected."""

    def pytest_collection_modifyitems(self, items):
        self.items = list(items)


def test_there_are_at_least_300():
    """Collected anew, since a run may have left some out (-k, -m, a single file)."""
    counter = Counter()
    folder = Path(__file__).parent
    pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", str(folder)], [counter])
    assert len({item.nodeid for item in counter.items}) >= 300
