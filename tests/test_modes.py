"""The one environment variable, and the folder notebooks write to."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import modes

ROOT = Path(__file__).resolve().parent.parent


def mode(value, code="from helpers.modes import MODE, choose; print(MODE, choose(1, 2, 3), choose(1, 2))"):
    env = {k: v for k, v in os.environ.items() if k != "NOISE_TO_DIGITS_MODE"}
    if value is not None:
        env["NOISE_TO_DIGITS_MODE"] = value
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("value, expected", [
    (None, "read 1 1"), ("read", "read 1 1"), ("smoke", "smoke 2 2"), ("full", "full 3 1"),
])  # fmt: skip
def test_modes(value, expected):
    assert mode(value).stdout.strip() == expected


def test_unknown_mode():
    result = mode("fast")
    assert result.returncode != 0 and "'fast'" in result.stderr
    assert all(word in result.stderr for word in modes.MODES)


def test_a_choice_of_zero_or_false_counts(monkeypatch):
    monkeypatch.setattr(modes, "MODE", "full")
    assert (
        modes.choose(read=5, smoke=1, full=0) == 0
        and modes.choose(read=True, smoke=True, full=False) is False
    )
    assert modes.choose(read=5, smoke=1) == 5


def test_root():
    assert modes.ROOT == ROOT and (modes.ROOT / "helpers").is_dir()


def test_out_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(tmp_path / "a" / "b"))
    assert modes.out_dir() == tmp_path / "a" / "b" and modes.out_dir().is_dir()
    monkeypatch.delenv("NOISE_TO_DIGITS_OUT")
    monkeypatch.setattr(modes, "ROOT", tmp_path)
    assert modes.out_dir() == tmp_path / "out"


def test_out_dir_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(tmp_path / "file" / "out"))
    with pytest.raises(OSError, match="cannot create .*file.*NOISE_TO_DIGITS_OUT"):
        modes.out_dir()


def test_side_by_side_each_process_has_a_folder_of_its_own_for_pictures(tmp_path, monkeypatch):
    """Both editions of a notebook give their GIFs the same names."""
    places = []
    for worker in ("", "gw0", "gw1"):
        monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(tmp_path))
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        runpy.run_path(str(ROOT / "notebooks" / "conftest.py"))
        places.append(modes.out_dir())
    assert places == [tmp_path, tmp_path / "gw0", tmp_path / "gw1"]
