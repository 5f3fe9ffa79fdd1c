"""What a student has answered, in my-work/answers.json: a restarted kernel, and other notebooks, know it too.

The first cell of the student edition names the folder, in NOISE_TO_DIGITS_MINE. Without one (the complete
edition, tests) answers are kept in memory, for as long as the kernel runs.
"""

import json
import os
import random
from contextlib import suppress
from pathlib import Path

from .. import files

FOLDER = "NOISE_TO_DIGITS_MINE"  # the environment variable
FILE = "answers.json"
DONE = ("right", "off", "found")  # states of an exercise that is no longer open

_memory = {}  # folder or None -> {id: entries}
_unwritten = set()  # folders whose file could not be written: their answers are in memory


def folder() -> Path | None:
    """Where the student's own files go; None: nowhere."""
    named = os.environ.get(FOLDER, "")
    return Path(named).absolute() if named.strip() else None


def noted(id: str) -> dict:
    """What has been noted of an exercise; {} where nothing has."""
    return dict(read().get(id, {}))


def note(id: str, **entries) -> None:
    """Note entries of an exercise, beside those that are there. Never raises.

    What JSON has no form for is noted as its repr. A `state` that is DONE is not replaced by another.
    """
    place, table = folder(), read()
    old = table.get(id, {})
    if old.get("state") in DONE and entries.get("state", DONE[0]) not in DONE:
        del entries["state"]
    text = json.dumps(table | {id: old | entries}, indent=1, default=repr, skipkeys=True)
    _memory[place] = json.loads(text)
    if place is None:
        return
    try:
        files.write_bytes(place / FILE, f"{text}\n".encode())
        _unwritten.discard(place)
    except OSError as error:
        _unwritten.add(place)
        files.say_once(f"{error} Until then your answers are remembered only as long as this kernel runs.")


def read() -> dict[str, dict]:
    """All that has been noted, by id. A damaged file is set aside, and that is said."""
    place = folder()
    if place is None or place in _unwritten:
        return dict(_memory.get(place, {}))
    try:
        table = json.loads((place / FILE).read_text(encoding="utf-8"))
        if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
            raise ValueError("it is no table")
        return table
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        try:
            left = f"It is now {set_aside(place / FILE)}; what can be told from mine.py is taken from there."
        except OSError:
            _unwritten.add(place)
            left = "It could not be moved away: do that, and run this again."
        print(f"{FILE} cannot be read ({error}). {left}")
        return dict(_memory.get(place, {}))


def set_aside(path: Path) -> str:
    """Rename a file to a name that is free, mine.before.py, mine.before2.py ..; returns that name."""
    names = (f"{path.stem}.before{n or ''}{path.suffix}" for n in (0, *range(2, 10_000)))
    name = next(name for name in names if not os.path.lexists(path.with_name(name)))
    os.rename(path, path.with_name(name))
    return name


def seed() -> int:
    """The student's own number, drawn once and kept in the file `seed`; 0 without a folder."""
    place = folder()
    if place is None:
        return 0
    with suppress(OSError, ValueError):
        return int((place / "seed").read_text(encoding="utf-8")[:20])
    drawn = _memory.setdefault(("seed", place), random.SystemRandom().randrange(1, 1000))
    with suppress(OSError):
        files.write_bytes(place / "seed", f"{drawn}\n".encode())
    return drawn


def forget() -> None:
    """Empty the memory; files stay. For tests."""
    _memory.clear(), _unwritten.clear()
