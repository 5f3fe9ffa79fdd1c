"""Files written whole or not at all and read only if they are what was written; advice where they are not."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
TRAINED = ("data/checkpoints/", "data/results/")  # what `make train` writes
UNSEALED = "0" * 64  # stands where the checksum of a file goes
SEAL = re.compile(rb'"sha256": ?"(.{64})"', re.DOTALL)
say_once = cache(print)


@contextmanager
def whole_or_not_at_all(path):
    """A temporary file to write to, renamed to `path` at the end; removed when anything fails.

    What killed processes left of the same file is removed too. Raises OSError naming the file when it cannot
    be written (full disk, read-only folder); an older file stays as it was.
    """
    path = Path(path)
    part = path.parent / f".{path.name}.part{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(escape(f".{path.name}.part") + "*"):
            import psutil  # seldom needed, and slow

            owner = left.name.rpartition(".part")[2]
            if left == part or owner.isdecimal() and owner not in map(str, psutil.pids()):
                left.unlink(missing_ok=True)
        part.touch(exist_ok=False)  # never a link that a stranger put there
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # or a power cut may leave the name without the content
        os.replace(part, path)
    except BaseException as err:  # an interrupted cell too must leave no debris
        with suppress(OSError):
            part.unlink()
        if isinstance(err, OSError):
            raise OSError(
                f"could not write {path.name}: {err.strerror or err}. Free some space, or write to another "
                f"folder than {path.parent}; what was there before is untouched."
            ) from err
        raise


def write_bytes(path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_or_not_at_all(path) as part:
        part.write_bytes(content)


def seal(content: bytes) -> bytes:
    """`content` with its SHA-256 in its first "sha256": "..", counted with zeros there; b"" without one."""
    if not (place := SEAL.search(content)):
        return b""
    before, after = content[: place.start(1)], content[place.end(1) :]
    return before + hashlib.sha256(before + UNSEALED.encode() + after).hexdigest().encode() + after


def read_whole(path, shipped: bool = False) -> bytes:
    """The bytes of a file, if they are what was written; those of JSON with git's line ends.

    They are when data/SHA256SUMS lists them, or when they carry their own seal(): then a file that is listed
    too comes from the reader's own training, which is said once. Of a file with neither it is said that
    nobody can tell, unless it is listed or has to be `shipped`.
    Raises FileNotFoundError, or ValueError for a damaged or unreadable file, saying what to do.
    """
    path = Path(os.path.abspath(path))
    name = path.relative_to(DATA).as_posix() if path.is_relative_to(DATA) else None
    listed = checksums() if name else {}
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.name} is not there: {restore_hint(path)}") from None
    except OSError as err:
        raise ValueError(f"{path.name} cannot be read ({err.strerror or err}): {restore_hint(path)}") from err
    content = content.replace(b"\r\n", b"\n") if path.suffix == ".json" else content
    if hashlib.sha256(content).hexdigest() == listed.get(name):
        return content
    sealed = seal(content)
    if shipped or sealed != content and (sealed or name in listed):
        raise ValueError(f"{path.name} is damaged (its checksum is another): {restore_hint(path)}")
    if not sealed:
        say_once(f"{path.name} carries no checksum: nobody can tell whether it is whole.")
    elif name in listed:
        say_once(f"{path.name} is of your own training, not the one that ships.")
    return content


def checksums() -> dict[str, str]:
    """SHA-256 of every shipped file, by its path under data/, from data/SHA256SUMS.

    Raises FileNotFoundError, or ValueError naming the first line that is no checksum and path.
    """
    path = DATA / "SHA256SUMS"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = [(n, line.split()) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
        for n, row in rows:
            if len(row) != 2 or not re.fullmatch("[0-9a-fA-F]{64}", row[0]):
                raise ValueError(f"line {n} is no checksum and path")
    except FileNotFoundError:
        raise FileNotFoundError(f"data/SHA256SUMS is not there: {restore_hint(path)}") from None
    except (OSError, ValueError) as err:
        raise ValueError(f"data/SHA256SUMS is damaged ({err}): {restore_hint(path)}") from err
    return {name.removeprefix("*"): digest.lower() for _, (digest, name) in rows}


def to_json(path, value, indent: int | None = None) -> str:
    """JSON of what is to be written to a file. Raises ValueError for NaN and infinity."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError as err:
        raise ValueError(f"{Path(path).name} is not written: a number in it is NaN or infinite") from err


def write_json(path, table: dict) -> None:
    """Write a table as sealed JSON."""
    text = to_json(path, {"sha256": "", **table} | {"sha256": UNSEALED}, indent=1)
    write_bytes(path, seal(f"{text}\n".encode()))


def read_json(path) -> dict:
    """The table in a JSON file, without its seal. Raises as read_whole()."""
    content = read_whole(path)
    try:
        table = json.loads(content, parse_constant=int)  # which NaN and infinity are not
        if not isinstance(table, dict):
            raise ValueError(f"a {type(table).__name__}, no table")
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{Path(path).name} is damaged ({err}): {restore_hint(path)}") from err
    table.pop("sha256", None)
    return table


def restore_hint(path) -> str:
    """What to do about one missing or damaged file, as a clause that names this file and no other."""
    path = Path(os.path.abspath(path))
    if not path.is_relative_to(ROOT):
        return "put a whole copy of it back, or write it anew"
    name = path.relative_to(ROOT).as_posix()
    hint = f"restore it with `git checkout -- {name}` in the course's folder "
    hint += "(without git: take this file from the course's download again)"
    return f"{hint}, or make it anew with `make train`" if name.startswith(TRAINED) else hint
