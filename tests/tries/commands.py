"""How the tries call the builder: in this process, or in one of its own with an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import build

ROOT = Path(__file__).resolve().parents[2]
# The superuser may write anywhere: without these two of its powers a read-only folder is one for it too.
POWERS = "-dac_override,-dac_read_search"


def run_here(capsys, course, *words) -> tuple[int, str]:
    """The exit code of `build.py WORDS` and all that it said, run in this process."""
    capsys.readouterr()
    try:
        code = build.main(["--root", str(course.root), *map(str, words)])
    except SystemExit as stopped:  # argparse
        code = stopped.code
    said = capsys.readouterr()
    return code, said.out + said.err


def run_apart(course, *words, powers=None, cwd=None, **environment) -> subprocess.CompletedProcess:
    """`build.py WORDS` in a process of its own; None takes a variable out of its environment."""
    env = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    drop = ["setpriv", f"--bounding-set={powers}"] if powers and os.geteuid() == 0 else []
    words = [*drop, sys.executable, ROOT / "notebooks/source/build.py", "--root", course.root, *words]
    return subprocess.run(
        words, env=env, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=120
    )


def can_be_kept_out() -> bool:
    """Whether permissions hold for the user of these tests, or can be made to."""
    if os.name != "posix" or os.geteuid() != 0:
        return os.name == "posix"
    drop = ["setpriv", f"--bounding-set={POWERS}", "true"]
    return bool(shutil.which("setpriv")) and subprocess.run(drop, capture_output=True).returncode == 0


def assert_sentence(said: str, *names: str) -> None:
    """What was said is a sentence or two with these words in it, and no traceback."""
    assert "Traceback" not in said, said
    assert said.strip() and len(said.strip().splitlines()) <= 4, said
    for name in names:
        assert name in said, f"{name!r} is not in {said!r}"


def every_file(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with what is in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
