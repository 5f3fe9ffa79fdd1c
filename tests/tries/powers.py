"""A disk that is full, and somebody without the superuser's powers."""

import codecs
import contextlib
import os


@contextlib.contextmanager
def full_disk(size=100):
    """Writes beyond `size` bytes a file fail, in this process, for real (a limit on file sizes)."""
    import resource  # not on Windows
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def as_somebody_else():
    """The superuser may do anything: while this lasts, permissions hold for these tests too."""
    codecs.lookup("utf-8-sig")  # Python itself may lie where somebody else cannot read
    root = os.name == "posix" and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
