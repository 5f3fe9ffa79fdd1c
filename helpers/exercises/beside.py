"""See your mistake: the picture that follows an exercise, as the student's code draws it and as it should be.

The source has it from the notebook's cell with expected="N.M" (mistakes.json, "expected"). It runs twice, in
the sandbox and with copies of the notebook's values, until its first picture. Nothing of it stays.
"""

import base64
import contextlib
import copy
import dis
import gc
import html
import io
import os
import sys
import tempfile
import types

import numpy as np
import torch
from PIL import Image

from .. import show as pictures
from . import patches, report, sandbox
from .surroundings import as_before
from .verdict import SpecError

SECONDS = 3.0  # for both runs
ROOM = 250e6  # bytes of values that are copied for a run; MNIST's training pictures have 188e6
PARTS = 100_000  # objects in those values
WIDTH = 320  # pixels of each picture, as shown
SEEN = 20  # pixels from which two pictures differ
NEVER_RAN = ("type", "arguments")  # mistakes that are found before the answer runs
KEPT = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)

_slow = set()  # ids whose reference alone takes too long here


class _Enough(BaseException):
    """Ends a run at its first picture; no Exception, so that a cell's own ``except`` lets it through."""


class _Silent:
    """Stands for ``check`` in a run: counts nothing, returns what it is handed."""

    def __call__(self, id, answer, *_):
        return answer

    changed = __call__

    def __getattr__(self, name):
        return lambda *_, **__: None


def show(exercise, verdict, function, strict=False):
    """Below a verdict "wrong": both pictures, if they differ. strict: raise SpecError where it fails."""
    try:
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        asked = exercise.kind == "write" and verdict.state == "wrong" and verdict.mistake not in NEVER_RAN
        if shell is None or not asked:
            return
        source = find_source(exercise.id)
        if source and exercise.id not in _slow:
            if drawn := draw(exercise, function, source, shell):
                report._emit(*describe(*drawn))
    except Exception as error:
        if strict:
            text = f"the picture beside it fails: {type(error).__name__}: {error}"
            raise error if type(error) is SpecError else SpecError(f"{exercise.id}: {text}") from error


def find_source(id: str) -> str:
    """The source of the cell with the expected picture; "" where there is none."""
    try:
        return getattr(patches._find(id), "expected", "") or ""
    except ValueError:  # an exercise in full, or mistakes.json is damaged: that is said elsewhere
        return ""


def draw(exercise, function, source, shell):
    """((PNG, alt text) as it should be, the same of the student or its Crash); None: there is nothing to see.

    SpecError where the cell fails with the reference, or draws nothing.
    """
    code = compile(source, f"<the cell behind {exercise.id}>", "exec", dont_inherit=True)
    runs, data = [], find_data(code, (exercise.reference, function), dict(shell.user_ns))
    if not fits(data.values()):
        return None

    def work(put_back):
        file = sandbox.file_of(function)
        for answer in (exercise.reference, function):
            put_back()
            runs.append(run_once(code, shell.user_ns, data, {exercise.title: answer}, file))

    with _nothing_stays(shell):
        _, crash = sandbox.run_guarded(work, SECONDS, module=getattr(exercise.reference, "__module__", None))
    if crash and not runs:
        _slow.add(exercise.id)
    if crash or len(runs) < 2:
        return None
    (right, failed), (yours, stopped) = runs
    if not right:
        raise SpecError(f"{exercise.id}: the cell with its expected picture stops or draws nothing: {failed}")
    if not (yours or stopped) or (yours and same(right[0], yours[0])):
        return None
    return right, yours or stopped


@contextlib.contextmanager
def _nothing_stays(shell):
    """Names, figures and displays are afterwards as before; what is written to out_dir() goes elsewhere."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    names, publisher, figures = shell.user_ns, shell.display_pub, set(pictures.plt.get_fignums())
    saved = dict(names)
    with as_before(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["NOISE_TO_DIGITS_OUT"] = folder
        shell.display_pub = CapturingDisplayPublisher()
        try:
            yield
        finally:
            shell.display_pub = publisher
            for name in [name for name in names if name not in saved]:
                del names[name]
            names.update(saved)
            for number in set(pictures.plt.get_fignums()) - figures:
                pictures.plt.close(number)


# The notebook's values that a run uses ------------------------------------------------------------


def find_data(code, functions, names) -> dict:
    """The values, by name, that a cell and some functions use, and those that the code they call uses."""
    found, waiting = {}, [code, *(part for f in functions for part in _codes(f))]
    steps = [i for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "STORE_NAME")]
    first = {step.argval: step.opname for step in reversed(steps)}
    made = {name for name, opname in first.items() if opname == "STORE_NAME"}  # by the cell itself
    while waiting:
        code = waiting.pop()
        waiting += [part for part in code.co_consts if isinstance(part, types.CodeType)]
        for name in set(code.co_names) & names.keys() - found.keys() - made:
            value = found[name] = names[name]
            for part in (value, type(value)):
                if isinstance(part, type | types.FunctionType) and part.__module__ == names.get("__name__"):
                    waiting += _codes(part)
    return {name: value for name, value in found.items() if not isinstance(value, KEPT)}


def _codes(value):
    values = vars(value).values() if isinstance(value, type) else [value]
    values = [getattr(v, "fget", None) or getattr(v, "__func__", v) for v in values]
    return [v.__code__ for v in values if isinstance(v, types.FunctionType)]


def fits(values) -> bool:
    """Whether the tensors and arrays in some values, and in what these hold, are small enough to copy."""
    waiting, seen, room = list(values), set(), ROOM
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (*KEPT, types.GeneratorType)) or _is_check(value):
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            room -= value.untyped_storage().nbytes()
        elif isinstance(value, np.ndarray):
            room -= value.nbytes
        waiting += gc.get_referents(value)
        if room < 0 or len(seen) > PARTS:
            return False
    return True


def run_once(code, names, data, answer, file):
    """(its first picture, its Crash), one or both of them None.

    It runs among the notebook's own names, so that its functions find copies of ``data`` and the answer too.
    """
    names.update(copy_all(data) | answer)
    drawn = []

    def keep(bundle, metadata):
        if png := bundle.get("image/png"):
            alt = metadata.get("image/png", {}).get("alt") or bundle.get("text/plain", "")
            drawn.append((png, alt))
            raise _Enough

    pictures._display = keep
    sandbox.seed_everything()
    _, crash = sandbox.attempt(exec, code, names, filename=file)
    return (drawn[0], None) if drawn else (None, crash)


def _is_check(value):
    return type(value).__module__ == __package__


def copy_all(data: dict) -> dict:
    """Copies that share with each other what the originals share; what cannot be copied becomes None."""
    made, memo = {}, {}
    for name, value in data.items():
        if _is_check(value):
            made[name] = _Silent()
        elif isinstance(value, torch.Tensor) and not value.is_leaf:
            made[name] = value.detach().clone()
        else:
            made[name] = sandbox.attempt(copy.deepcopy, value, memo)[0]
    return made


def same(one: str, other: str) -> bool:
    """Whether two pictures (PNG, base64) look alike."""
    a, b = (np.asarray(Image.open(io.BytesIO(base64.b64decode(p))).convert("L"), int) for p in (one, other))
    return a.shape == b.shape and (abs(a - b) > 32).sum() < SEEN


def describe(right, yours) -> tuple[str, str]:
    """The two pictures in words and as HTML; yours may be a Crash."""
    alt = right[1]
    if isinstance(yours, sandbox.Crash):
        stop = f"yours stops here: {yours}"
        return f"as it should be: {alt}\n{stop}", _row([_picture(*right, "as it should be")], stop)
    words = f"drawn with your code, it differs from the picture beside it, which shows: {alt}"
    both = [_picture(yours[0], words, "yours"), _picture(*right, "as it should be")]
    return f"two pictures, yours and as it should be. As it should be: {alt}", _row(both)


def _picture(png, alt, caption):
    image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png}" style="width: {WIDTH}px">'
    return f'<figure style="margin: 0"><figcaption>{caption}</figcaption>{image}</figure>'


def _row(figures, below=""):
    row = f'<div style="display: flex; flex-wrap: wrap; gap: 1em; margin: 0.3em 0">{"".join(figures)}</div>'
    return row + (f"<p>{report._marked(below)}</p>" if below else "")
