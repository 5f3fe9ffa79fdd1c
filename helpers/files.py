"""Files written whole or not at all, and what to do about one that is missing or damaged."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ("data/checkpoints/", "data/results/")  # what `make train` writes


@contextmanager
def whole_or_not_at_all(path):
    """A temporary file name to write to, renamed to `path` at the end; removed when anything fails.

    Raises OSError naming the file when it cannot be written (full disk, read-only folder); an older file
    stays as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except BaseException as err:  # an interrupted cell too must leave no debris
        with suppress(OSError):
            part.unlink()
        if isinstance(err, (OSError, SafetensorError)):
            raise OSError(
                f"could not write {path.name}: {err}. Free some space or choose a folder you may write to; "
                "what was there before is untouched."
            ) from err
        raise


def restore_hint(path) -> str:
    """What to do about one missing or damaged file, as a clause that names this file and no other.

    "restore it with `git checkout -- data/results/mnist.json` in the course's folder (without git: take this
    file from the course's download again), or make it anew with `make train`"
    """
    path = Path(os.path.abspath(path))
    if not path.is_relative_to(ROOT):
        return "put a whole copy of it back, or write it anew"
    name = path.relative_to(ROOT).as_posix()
    hint = (
        f"restore it with `git checkout -- {name}` in the course's folder "
        "(without git: take this file from the course's download again)"
    )
    return f"{hint}, or make it anew with `make train`" if name.startswith(TRAINED) else hint
