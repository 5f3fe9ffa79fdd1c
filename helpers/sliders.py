"""Sliders: a function that draws a picture, drawn again whenever one of its controls moves."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

RECORD = "NOISE_TO_DIGITS_RECORD"  # set while `make execute` runs a notebook: where recordings go, folder/NN


def sliders(draw, **controls) -> None:
    """Show controls and, below them, what draw(**values) shows; a control let go of draws again.

    draw: a function whose arguments all have defaults; they are where the controls start.
    controls: for each argument what ipywidgets.interactive takes: (low, high) or (low, high, step) for a
    slider, a list or a dict for a choice.
    Needs a running kernel: a saved notebook shows nothing here, so draw(...) a picture beside it as well.
    (On the course's web pages they move through frames that `make execute` recorded.) Without ipywidgets it
    says so and goes on. Raises ValueError for a control whose argument draw does not have.
    """
    arguments = draw.__code__.co_varnames[: draw.__code__.co_argcount]
    unknown = [name for name in controls if name not in arguments]
    if unknown:
        raise ValueError(f"{draw.__name__} takes {', '.join(arguments)}; no argument {', '.join(unknown)}")
    if prefix := os.environ.get(RECORD):
        recorder = Path(__file__).parents[1] / "notebooks" / "source" / "builder" / "recording.py"
        runpy.run_path(str(recorder))["record"](draw, controls, prefix)
    try:
        from ipywidgets import interactive
    except ImportError:
        print(f"No sliders without ipywidgets; call {draw.__name__}({', '.join(controls)}) yourself.")
        return
    from IPython.display import display

    shown = interactive(draw, **controls)
    for control in shown.children[:-1]:
        control.layout.width = "420px"
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # a drag draws once, where it ends
    display(shown)
