"""How long a notebook may take: one environment variable, NOISE_TO_DIGITS_MODE, with three values.

read   (default) load what `make train` shipped, train live only what takes about a minute;
smoke  a few steps everywhere along the same code paths: what CI runs;
full   ignore the shipped checkpoints and train.
"""

from __future__ import annotations

import os
from pathlib import Path

from helpers.files import ROOT

MODES = ("read", "smoke", "full")
MODE = os.environ.get("NOISE_TO_DIGITS_MODE", "read")
if MODE not in MODES:
    raise ValueError(f"NOISE_TO_DIGITS_MODE is {MODE!r}: set it to read, smoke or full, or unset it (read)")


def choose(read, smoke, full=None):
    """The value for the current mode; full takes read's where it is left out."""
    return {"read": read, "smoke": smoke, "full": read if full is None else full}[MODE]


def out_dir() -> Path:
    """The folder, created, for the GIFs and PNGs of a notebook: NOISE_TO_DIGITS_OUT, else out/ at the root.

    Raises OSError naming the folder when it cannot be written.
    """
    folder = Path(os.environ.get("NOISE_TO_DIGITS_OUT") or ROOT / "out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OSError(f"cannot create {folder} ({err}): set NOISE_TO_DIGITS_OUT to another folder") from err
    return folder
