"""What all tests share: the repository on sys.path, no display, no network, one thread when asked."""

import os
import socket
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
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


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections and name look-ups beyond this machine fail, loudly: the course runs offline."""
    real_connect, real_connect_ex, real_look_up = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def allowed(address) -> bool:
        return not isinstance(address, tuple) or address[0] in LOOPBACK or str(address[0]).startswith("127.")

    def guarded(real):
        def connect(self, address):
            if not allowed(address):
                raise NetworkUsed(f"a test tried to reach {address}")
            return real(self, address)

        return connect

    def look_up(host, *args, **kwargs):
        if not allowed((host.decode() if isinstance(host, bytes) else host,)):
            raise NetworkUsed(f"a test tried to look up {host}")
        return real_look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(real_connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(real_connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def one_thread():
    """torch on one thread, for tests of bit-equal results and for tiny work that threads only slow down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
