"""What all tests share: the repository on sys.path, no display, no network, one thread when asked."""

import os
import socket
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["NOISE_TO_DIGITS_MINE"] = ""  # answers that tests give go to no my-work/
ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "notebooks" / "source", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import pytest  # noqa: E402
import torch  # noqa: E402

LOOPBACK = {"localhost", "127.0.0.1", "::1", "", None}


class NetworkUsed(RuntimeError):
    """A test tried to leave this machine."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds to minutes; make test-fast leaves it out")
    config.addinivalue_line("markers", "long: a try (tests/tries); not in make test, but in test-long and CI")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections and name look-ups beyond this machine fail, loudly: the course runs offline."""

    def guard(owner, name, place):
        real, looks_up = getattr(owner, name), owner is socket

        def guarded(*args, **kwargs):
            target = args[place] if args else kwargs.get("host")
            host = target[0] if isinstance(target, tuple) else target if looks_up else None
            host = host.decode() if isinstance(host, bytes) else host
            if host not in LOOPBACK and not str(host).startswith("127."):
                raise NetworkUsed(f"a test tried to {'look up' if looks_up else 'reach'} {target}")
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, guarded)

    for name, place in (("connect", 1), ("connect_ex", 1), ("sendto", -1)):
        guard(socket.socket, name, place)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        guard(socket, name, 0)


@pytest.fixture
def one_thread():
    """torch on one thread, for tests of bit-equal results and for tiny work that threads only slow down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
