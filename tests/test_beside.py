"""See your mistake: the picture behind an exercise, drawn with the student's code beside the right one."""

import linecache
import re
import sys
import time
import types
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from helpers import show
from helpers.exercises import Check, Exercise, SpecError, beside, report

cell = count(1)
CELL = """
picture = draw(torch.zeros(1, 1, 8, 8), 0.5)
show.grid(picture, "a grey square", columns=1)
"""


def draw(x, level):
    return x + level


def cases():
    return [(torch.zeros(3, 2), 0.25)]


TASK = Exercise("90.1", "draw", draw, cases, "it.", changes_inputs=True)
WRONG = "def draw(x, level):\n    return x - level\n"


class Notebook:
    """A kernel of sorts: its names, and what `check` displays."""

    def __init__(self, monkeypatch):
        self.user_module = types.ModuleType("__main__")
        self.user_ns, self.display_pub, self.said = vars(self.user_module), object(), []
        self.events = types.SimpleNamespace(register=lambda *_: None)  # matplotlib asks for it
        self.user_ns.update(torch=torch, nn=nn, np=np, plt=plt, show=show, check=Check([TASK]))
        monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: self)
        monkeypatch.setattr(report, "_emit", lambda plain, rich: self.said.append((plain, rich)))

    def run(self, source):
        file = f"<cell {next(cell)}>.py"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), self.user_ns)

    def hand_in(self, source=WRONG):
        """What is displayed below the verdict: [(plain, HTML)]."""
        self.run(source)
        self.said.clear()
        self.run("answer = check('90.1', draw)")
        return self.said[1:]


@pytest.fixture
def notebook(monkeypatch):
    __import__("IPython")
    monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")
    monkeypatch.setattr(beside, "_slow", set())
    return Notebook(monkeypatch)


@pytest.fixture
def behind(monkeypatch):
    """Sets the cell that follows the exercise."""
    return lambda source: monkeypatch.setattr(beside, "find_source", lambda id: source)


def test_both_pictures_are_shown(notebook, behind):
    behind(CELL)
    ((plain, rich),) = notebook.hand_in()
    assert re.findall("<figcaption>(.*?)</figcaption>", rich) == ["yours", "as it should be"]
    first, second = re.findall('<img alt="(.*?)" src="data:image/png;base64,(.*?)"', rich)
    assert second[0] == "a grey square" and "differs" in first[0] and first[1] != second[1]
    assert rich.count("width: 320px") == 2 and "a grey square" in plain and "<" not in plain


@pytest.mark.parametrize(
    "source, word",
    [
        ("def draw(x, level):\n    return x + level\n", "right"),
        ("def draw(x, level):\n    ...\n", "not attempted"),
        ("def draw(x, level):\n    return x + lvel\n", "crashed"),
        ("def draw(x):\n    return x\n", "takes 1 argument"),
        ("draw = 3", "a value of type int"),
    ],
)
def test_nothing_below_other_verdicts(notebook, behind, source, word):
    behind(CELL)
    assert notebook.hand_in(source) == [] and word in notebook.said[0][0]


def test_equal_pictures_are_not_shown(notebook, behind):
    behind("draw(torch.zeros(2), 0.1)\nshow.grid(torch.zeros(1, 1, 8, 8), 'black', columns=1)")
    assert notebook.hand_in() == []


def test_nothing_without_a_picture_behind(notebook):
    assert notebook.hand_in() == []


def test_nothing_outside_a_notebook(notebook, behind, monkeypatch):
    behind(CELL)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert notebook.hand_in() == []


def test_where_yours_stops(notebook, behind):
    behind(CELL)
    ((plain, rich),) = notebook.hand_in("def draw(x, level):\n    return x[:, 0] * level\n")
    assert "as it should be" in rich and rich.count("<img") == 1
    assert "yours stops here: " in rich and "yours stops here: " in plain
    with pytest.raises(ValueError):
        notebook.run(CELL)


def test_only_the_first_still_picture_and_all_kinds(notebook, behind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the cell writes a film beside itself
    for call in ("rows({'a': picture}, 'first')", "grid(picture, 'first')", "loss_curve(l, 'first')"):
        behind(
            "picture = draw(torch.zeros(1, 1, 8, 8), 0.5)\nl = draw(torch.ones(99), 0.5).tolist()\n"
            "show.gif([show.tiles(picture, 1)] * 2, show.Path('moves.gif'), 'moves')\n"
            f"show.{call}\nshow.grid(picture, 'second')\n1 / 0"
        )
        ((_, rich),) = notebook.hand_in()
        assert 'alt="first"' in rich and "second" not in rich and "moves" not in rich


def test_functions_of_the_notebook_use_the_answer_too(notebook, behind):
    notebook.run("def twice(x):\n    return draw(x, 0.2) + draw(x, offset)")
    behind("offset = 0.1\nshow.grid(twice(torch.zeros(1, 1, 8, 8)), 'twice')")
    ((_, rich),) = notebook.hand_in()
    assert rich.count("<img") == 2


def test_nothing_stays(notebook, behind, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NOISE_TO_DIGITS_OUT", str(tmp_path))
    notebook.run(
        "g = torch.Generator().manual_seed(3)\nx = torch.zeros(1, 1, 8, 8)\nparts = {'a': [torch.zeros(2)]}\n"
        "net = nn.Linear(2, 2)\nadam = torch.optim.Adam(net.parameters())\nfig, ax = plt.subplots()\n"
        "def change():\n    global later\n    parts['a'][0] += 1\n    later = 1"
    )
    names = notebook.user_ns
    before = {name: value for name, value in names.items()}
    state, weight = names["g"].get_state(), names["net"].weight.detach().clone()
    numbers, figures = torch.get_rng_state(), plt.get_fignums()
    behind(
        "from helpers.modes import out_dir\nprint()\nx += 1\nchange()\ny = torch.randn(2, generator=g)\n"
        "net(torch.ones(2)).sum().backward()\nadam.step()\nassert net.weight.grad is not None\n"
        "check('90.1', draw)\nplt.rcParams['font.size'] = 3\n_, other = plt.subplots()\ntorch.rand(3)\n"
        "show.grid(draw(x, -0.3), 'x', save=out_dir() / 'x.png')"
    )
    ((_, rich),) = notebook.hand_in()
    assert rich.count("<img") == 2 and len(notebook.said) == 2
    after = {name: v for name, v in names.items() if name not in ("draw", "answer")}
    before.pop("draw", None)
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in after)
    assert names["x"].eq(0).all() and names["parts"]["a"][0].eq(0).all()
    assert names["g"].get_state().equal(state) and torch.get_rng_state().equal(numbers)
    assert names["net"].weight.equal(weight) and names["net"].weight.grad is None
    assert plt.get_fignums() == figures and plt.rcParams["font.size"] != 3
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())
    plt.close("all")


def test_both_draw_the_same_random_numbers(notebook, behind):
    behind("show.grid(draw(torch.rand(1, 1, 8, 8), 0.0), 'noise')")
    assert notebook.hand_in() == []  # x - 0 is x + 0


def test_large_values_are_left_alone(notebook, behind, monkeypatch):
    monkeypatch.setattr(beside, "ROOM", 1e6)
    notebook.run("big = torch.zeros(1000, 1000)\nalso = [big]")
    behind("also[0][0, 0] = 1\n" + CELL)
    assert notebook.hand_in() == [] and notebook.user_ns["big"].eq(0).all()
    behind("also = []\n" + CELL)
    assert len(notebook.hand_in()) == 1


def test_a_slow_cell_is_tried_once(notebook, behind, monkeypatch):
    monkeypatch.setattr(beside, "SECONDS", 0.3)
    behind("while True:\n    pass\n" + CELL)
    start = time.perf_counter()
    assert notebook.hand_in() == [] and time.perf_counter() - start < 3
    start = time.perf_counter()
    assert notebook.hand_in() == [] and time.perf_counter() - start < 0.3


def test_an_answer_without_an_end_in_the_cell(notebook, behind, monkeypatch):
    monkeypatch.setattr(beside, "SECONDS", 0.5)
    behind(CELL)
    assert notebook.hand_in("def draw(x, level):\n    while x.ndim > 2:\n        pass\n    return x") == []
    assert not beside._slow


def test_a_broken_cell_is_silent_or_said(notebook, behind, monkeypatch):
    for source in ("nowhere + 1", "print(draw(torch.zeros(2), 1))", "x = ("):
        behind(source)
        with pytest.raises(SpecError, match="90.1"):
            notebook.hand_in()
        monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "")
        assert notebook.hand_in() == []
        monkeypatch.setenv("NOISE_TO_DIGITS_STRICT_CHECKS", "1")


def test_a_mistake_of_a_class(notebook, behind, monkeypatch):
    class Net(nn.Module):
        def forward(self, x):
            return x + 0.5

    task = Exercise("90.1", "Net", Net, lambda: [(torch.zeros(2),)], "it.", call=lambda c, x: c()(x))
    notebook.user_ns["check"] = Check([task])
    behind("show.grid(Net()(torch.zeros(1, 1, 8, 8)), 'a net')")
    notebook.run("class Net(nn.Module):\n    def forward(self, x):\n        return x - 0.5")
    notebook.run("check('90.1', Net)")
    assert notebook.said[1][1].count("<img") == 2


def test_words_are_escaped(notebook, behind):
    behind(CELL.replace("a grey square", 'a <b> & \\"c\\"'))
    ((_, rich),) = notebook.hand_in()
    assert 'alt="a &lt;b&gt; &amp; &quot;c&quot;"' in rich


@pytest.mark.slow
def test_in_a_notebook_kernel():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    root = Path(__file__).resolve().parents[1]
    cells = [
        f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'tests')!r}]\n"
        "import torch, test_beside as T\nfrom helpers.exercises import Check, beside; show = T.show\n"
        f"check = Check([T.TASK])\nbeside.find_source = lambda id: {CELL!r}",
        WRONG + "draw = check('90.1', draw)",
        CELL,
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    verdict, both = book.cells[1].outputs
    assert verdict["data"]["text/plain"].startswith("90.1 draw: not yet.")
    first, second = re.findall('base64,(.*?)"', both["data"]["text/html"])
    (picture,) = book.cells[2].outputs  # of the reference: check returned it
    assert picture["data"]["image/png"].strip() == second != first
