"""mine.py: what `check` finds right is kept, in a file that draws digits without the course."""

import ast
import json
import linecache
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from helpers import files
from helpers.checkpoints import load_model
from helpers.exercises import Check, Exercise, answers, mine, patches
from helpers.exercises.part import is_my, names_of, reached
from helpers.sampling import ddim, reverse
from helpers.schedule import cosine

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parent.parent
NAMES = mine.places()
SHIPPED = json.loads(patches.FILE.read_text(encoding="utf-8"))
RIGHT = {id: SHIPPED[id]["source"] for id in NAMES}  # the notebooks' own solutions
ALL_RIGHT = mine.assemble(RIGHT)
SET_UP = (
    "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
)
DRAWING = ["1.4", "1.6", "2.5", "2.7", "2.8", "3.1", "3.3", "3.4", "3.7", "4.3", "4.4", "4.5"]
LATE = [id for id in NAMES if int(id.partition(".")[0]) >= 9]


@pytest.fixture(autouse=True)
def plan():
    yield
    mine.forget()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A student's folder, in a course that has nothing but the weights."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "checkpoints").symlink_to(ROOT / "data" / "checkpoints")
    monkeypatch.setenv(answers.FOLDER, str(tmp_path / "my-work"))
    return tmp_path / "my-work"


class Session:
    """A notebook that a student has open."""

    count = 0

    def __init__(self, set_up=SET_UP):
        self.names = {"__name__": "__main__", "my": mine.references()}
        self.run(set_up)

    def run(self, source):
        """Run a cell, as IPython does."""
        Session.count += 1
        file = f"<cell {Session.count}>"
        source = textwrap.dedent(source).strip("\n") + "\n"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec", dont_inherit=True), self.names)
        return self.names

    def keep(self, id, source):
        """Hand in a cell whose answer `check` has found right; the sentence about it."""
        return mine.keep(id, self.run(source)[NAMES[id]])


def begin_with(ids):
    """A session in which these have been answered right, each in its cell."""
    session, glue = Session(), [p for p in mine.template() if not p.id]
    session.names |= vars(mine.parts())  # of the references; what the notebooks give
    session.names["__name__"] = "__main__"
    assert glue
    for id in ids:
        session.run(SET_UP)
        cell = f"{RIGHT[id]}\n\n{NAMES[id]} = check('{id}', {NAMES[id]})"
        session.names["check"] = lambda _, function: function
        assert session.keep(id, cell) == "Kept in mine.py.", id
    return session


def python(*words, timeout=120):
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=timeout)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# The template ---------------------------------------------------------------------------------------


def test_the_places_are_in_the_order_of_the_course():
    assert list(RIGHT) == sorted(RIGHT, key=lambda id: tuple(map(int, id.split("."))))


def test_every_written_task_has_its_place():
    assert RIGHT.keys() == {id for id, task in SHIPPED.items() if task.get("kind", "write") == "write"}


def test_the_parts_that_draw_are_those_that_the_file_names():
    table = next(n for n in ast.parse(ALL_RIGHT).body if getattr(n, "targets", [None])[0] is not None
                 and n.targets[0].id == "DRAWING")  # fmt: skip
    named = ast.literal_eval(table.value)
    assert list(named.values()) == DRAWING and all(NAMES[id] == name for name, id in named.items())
    ids = {name: id for id, name in NAMES.items()}
    assert sorted(ids[n] for n in reached(["draw_digits"], ALL_RIGHT) if n in ids) == sorted(DRAWING)


def test_no_given_line_needs_a_part_before_it_is_called():
    """With no part at all the file loads and says what is missing."""
    text = mine.assemble({})
    names = {"__name__": "mine", "__file__": "mine.py"}
    exec(compile(text, "mine.py", "exec"), names)
    assert "draw_digits" in names and "UNet" not in names


class WithoutMy(ast.NodeTransformer):
    """`at` for a notebook's `my.at`: in mine.py both are the same."""

    def visit_Attribute(self, node):
        return ast.Name(node.attr, node.ctx) if is_my(node) else self.generic_visit(node)


def given_cells(source):
    """{name: statement} of the definitions in the sources of the notebooks."""
    from builder.source import python_of, read_source

    found = {}
    for path in sorted(source.glob("[0-9][0-9]_*.py")):
        for cell in read_source(path):
            if cell.cell_type == "code":
                for node in ast.parse(python_of(cell.source)).body:
                    if isinstance(node, ast.FunctionDef | ast.ClassDef):
                        found.setdefault(node.name, []).append(mine.meaning(WithoutMy().visit(node)))
    return found


@pytest.fixture
def whole(monkeypatch):
    """{name: value} of the file with all parts, as imported."""
    monkeypatch.setitem(sys.modules, "mine", ModuleType("mine"))  # a part with `my.` asks for itself
    names = vars(sys.modules["mine"])
    names["__file__"] = str(ROOT / "my-work" / "mine.py")
    exec(compile(ALL_RIGHT, "mine.py", "exec"), names)
    return names


def test_the_notebooks_own_solutions_draw(whole):
    my, names = mine.parts(), whole
    assert my.draw_digits(1, 0, steps=2).shape == (1, 1, 28, 28)
    assert torch.allclose(names["draw_digits"](1, 0, steps=2), my.draw_digits(1, 0, steps=2))


def test_what_the_template_gives_stands_so_in_the_notebooks():
    there, own = given_cells(ROOT / "notebooks" / "source"), {"find_weights"}
    for name, meaning in mine.frame().given.items():
        if name in there and name not in own:
            assert meaning in there[name], f"{name} is another one in the notebooks"


# The file draws -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_with_all_parts_it_draws_what_the_course_draws_and_imports_nothing_of_it(home, monkeypatch):
    begin_with(RIGHT)
    made = [name for node in ast.parse((home / "mine.py").read_text()).body for name in names_of(node)]
    assert all(made.count(name) == 1 for name in (*NAMES.values(), *mine.frame().given))
    assert python(home / "mine.py", "4", "0").endswith("digits.png: drawn by your code alone.")
    assert (home / "digits.png").stat().st_size > 500
    code = f"""
        import sys; sys.path.insert(0, {str(home)!r})
        import mine, safetensors.torch
        safetensors.torch.save_file(dict(x=mine.draw_digits(4, 0)), "x")
        print([name for name in sys.modules if name.partition(".")[0] in ("helpers", "builder", "data")])"""
    monkeypatch.chdir(home.parent)
    assert python("-c", textwrap.dedent(code)) == "[]"
    drawn = load_file(home.parent / "x")["x"]
    *_, last = reverse(
        load_model("mnist_unet"), cosine(1000), ddim(steps=50), (4, 1, 28, 28), seed=0, clip_x0=1.0
    )
    assert torch.allclose(drawn, last.x, atol=1e-4)


def test_with_nothing_right_there_is_no_file_and_the_reference_draws(home, capsys):
    my = mine.parts()
    assert my.draw_digits(1, 0, steps=2).shape == (1, 1, 28, 28) and not home.exists()
    mine.credit("draw_digits")
    assert capsys.readouterr().out.startswith(
        "drawn by your code: 0 of 12 parts; the reference stands in for 1.4,"
    )
    said = f"mine.py  0 of {len(NAMES)} parts. The first right answer writes it."
    assert mine.summary_lines()[-1] == said


def test_half_of_it(home, capsys):
    begin_with([id for id in RIGHT if id not in ("2.7", "3.4", "4.1") and int(id.partition(".")[0]) < 5])
    mine.credit("draw_digits")
    mine.credit("fit", verb="trained")
    assert capsys.readouterr().out.splitlines() == [
        "drawn by your code: 10 of 12 parts; the reference stands in for 2.7 and 3.4.",
        "trained by your code: 0 of 2 parts; the reference stands in for 4.1 and 7.3.",
    ]
    said = mine.summary_lines()[-1]
    assert said.startswith(
        f"mine.py  22 of {len(NAMES)} parts. 10 of the 12 parts that draw are here and yours. Still"
    )
    assert "2.7 posterior_variance, 3.4 UNet." in said


def test_the_complete_edition_has_the_course_draw(capsys):
    mine.credit("draw_digits")
    assert capsys.readouterr().out == (
        "drawn by the course's reference (12 parts); in your copy, by your code.\n"
    )
    assert mine.keep("1.5", Session().run(RIGHT["1.5"])["q_sample"]) == "" and mine.summary_lines() == []
    assert mine.parts().walk.__name__ == "walk"


def test_own_code_is_what_later_notebooks_run_on(home):
    session = Session()
    session.names["at"] = mine.parts().at
    session.keep("1.5", RIGHT["1.5"].replace("return ", "q_sample.asked = True\n    return "))
    my = mine.parts()
    x = my.Schedule(my.cosine_betas(10)).q_sample(torch.zeros(2, 3), torch.tensor([1, 2]), torch.ones(2, 3))
    assert my.q_sample.asked and x.shape == (2, 3)


# From 09 on -----------------------------------------------------------------------------------------

USE = """
class Wave(torch.nn.Module):
    prediction = "v"

    def forward(self, x, t):
        return torch.sin(2 * x)

def falls(x0):
    return -x0.square().sum(1)

def glide(x, r, s):
    return x * s[:, None] ** 2 + r[:, None]

wave, t = Wave(), torch.tensor([7, 20, 35, 50])
x, z = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
out = dict(
    small_step=m.small_step(x, z, 9, x, schedule, 0.5),
    euler_in_ratio=m.euler_in_ratio(x, z, 30, 7, schedule),
    flow_loss=m.flow_loss(wave, schedule, x, t, z),
    heun_step=m.heun_step(wave, x, 1.0, 0.5),
    divergence=m.divergence(wave, x, 0.5)[1],
    stretch=m.stretch(torch.sin, x),
    consistency_loss=m.consistency_loss(wave, wave, schedule, x, t, t // 8, z),
    draw_few=m.draw_few(wave, z, [50, 20], [x], schedule),
    mean_flow_loss=m.mean_flow_loss(glide, x, t / 200, t / 50, z),
    recall=m.recall(x, z, k=1),
    begin_at=m.begin_at(x, 20, 4, z, schedule)[0],
    climb=m.climb(x, 7, 30, z, schedule),
    bend=m.bend(x, 20, torch.sin, falls, schedule),
    calibration=m.calibration(x.softmax(1), (z[:, 0] > 0).long(), [0.0, 0.5, 1.0]),
)
"""


def test_the_parts_of_09_to_11_are_kept_as_they_stand(home):
    session = Session(SET_UP + SHIPPED["10.4"]["given"])  # end_of_path comes from another cell
    for id in LATE:
        assert session.keep(id, f"{RIGHT[id]}\n\n{NAMES[id]}.seen = True") == "Kept in mine.py.", id
        assert text_of(home, id) == RIGHT[id]
    assert python(home / "mine.py", "check").startswith("0 of the 12 parts")


def test_the_parts_of_09_to_11_run_without_the_course(tmp_path, monkeypatch):
    """On the file's own schedule they give what the notebooks' give on the course's."""
    (tmp_path / "mine.py").write_text(ALL_RIGHT)
    code = "import torch, mine as m\nschedule = m.FullSchedule(m.cosine_betas(50))" + USE
    code += "import sys; torch.save(out, 'out'); print(*sys.modules)"
    monkeypatch.chdir(tmp_path)
    loaded = {name.partition(".")[0] for name in python("-c", code).split()}
    assert "torch" in loaded and not loaded & {"helpers", "builder", "data"}
    names = {NAMES[id]: mine.reference(id).function for id in LATE}
    course = dict(torch=torch, m=SimpleNamespace(**names), schedule=cosine(50))
    exec(USE, course)
    alone = torch.load("out")
    assert list(alone) == [NAMES[id] for id in LATE]
    for name, value in course["out"].items():
        assert value.isfinite().all() and torch.allclose(alone[name], value, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("id", LATE)
def test_the_parts_of_09_to_11_are_right_in_the_file(id, whole, capsys):
    Check()(id, whole[NAMES[id]])
    assert capsys.readouterr().out.startswith(f"{id} {NAMES[id]}: right.")


def test_the_files_own_schedule_knows_what_an_output_says():
    my, course = mine.parts(), cosine(50)
    own, t = my.FullSchedule(my.cosine_betas(50)), torch.tensor([1, 20, 50])
    assert own.exact(t).dtype == torch.float64 and torch.allclose(own.exact(t), course.exact(t), rtol=1e-6)
    output, x = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for prediction in ("v", "eps"):
        pairs = zip(*(s.from_output(output, x, t, prediction) for s in (own, course)), strict=True)
        assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in pairs)


# Right and wrong ------------------------------------------------------------------------------------


def exercise():
    def reference(betas):
        return torch.cumprod(1 - betas, dim=0)

    return Exercise("1.4", "alpha_bar_of", reference, lambda: [(torch.rand(5),)], "products.")


CELL = """
def alpha_bar_of(betas):
    return {}
alpha_bar_of = check("1.4", alpha_bar_of)
"""


def test_a_wrong_answer_is_never_kept_and_replaces_nothing(home, capsys):
    session, file = Session(), home / "mine.py"
    session.names["check"] = Check([exercise()])
    session.run(CELL.format("torch.cumsum(1 - betas, 0)"))
    assert not file.exists() and "not yet" in capsys.readouterr().out
    session.run(CELL.format("torch.cumprod(1 - betas, 0)  # mine"))
    first = file.read_text()
    assert "# mine" in first and "Kept in mine.py." in capsys.readouterr().out
    for wrong in ("betas", "...", "1 / 0"):
        session.run(CELL.format(wrong))
        assert file.read_text() == first and "Kept" not in capsys.readouterr().out
    session.run(CELL.format("(1 - betas).cumprod(0)  # shorter"))
    assert "# shorter" in file.read_text() and "# mine" not in file.read_text()


def test_the_same_answer_again_says_nothing(home):
    session = Session()
    cell = CELL.format("(1 - betas).cumprod(0)")
    session.names["check"] = lambda id, function: function
    assert session.keep("1.4", cell) == "Kept in mine.py." and session.keep("1.4", cell) == ""


def test_a_fresh_kernel_knows_what_was_done(home):
    begin_with(["1.4", "1.5"])
    mine.note("1.3", state="off", first=[0.7])
    code = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from helpers.exercises import mine, patches
        print(mine.noted("1.3"), sorted(mine.read_parts()))"""
    assert python("-c", textwrap.dedent(code)) == "{'state': 'off', 'first': [0.7]} ['1.4', '1.5']"
    lines = mine.summary_lines()
    assert [line[:4] for line in lines[:12]] == [f"{n:02d}  " for n in range(12)]
    assert lines[1] == "01  3 of 10 tasks done" and lines[2] == "02  0 of 10 tasks done"


# The text of a part ---------------------------------------------------------------------------------


def text_of(home, id):
    return next(p.text for p in mine.split((home / "mine.py").read_text()) if p.id == id)


def test_the_part_is_what_stands_in_the_cell_without_what_it_does_not_need(home):
    said = Session().keep("1.4", """
        import math
        from functools import reduce

        EPS = 0.0

        def unused(): return steps

        # a product,
        # step by step
        def alpha_bar_of(betas):
            # TODO 1.4: what the steps keep
            '''Their product.'''
            return torch.stack([prod(1 - betas[: i + 1]) for i in range(len(betas))]) + EPS  # slow
            # the end

        def prod(x): return reduce(lambda a, b: a * b, x)
        print(math.pi)
        """)  # fmt: skip
    assert said == "Kept in mine.py."
    assert (
        text_of(home, "1.4")
        == textwrap.dedent("""
        from functools import reduce
        EPS = 0.0


        # a product,
        # step by step
        def alpha_bar_of(betas):
            '''Their product.'''
            return torch.stack([prod(1 - betas[: i + 1]) for i in range(len(betas))]) + EPS  # slow
            # the end


        def prod(x): return reduce(lambda a, b: a * b, x)""").strip()
    )
    betas = torch.rand(6)
    assert torch.allclose(mine.parts().alpha_bar_of(betas), (1 - betas).cumprod(0))


@pytest.mark.parametrize("cell", [
    "alpha_bar_of = lambda betas: (1 - betas).cumprod(0)",
    "def product(betas): return (1 - betas).cumprod(0)\nalpha_bar_of = product",
    "@torch.no_grad()\ndef alpha_bar_of(betas):\n    return (1 - betas).cumprod(0)",
    "import torch as t\ndef alpha_bar_of(betas): return t.cumprod(1 - betas, 0)",
    "def alpha_bar_of(betas):\n    import numpy as np\n    return torch.tensor(np.cumprod(1 - betas))",
    "a = 1; b = 0\ndef alpha_bar_of(betas): return (a - betas).cumprod(b)",
    "from __future__ import annotations\ndef alpha_bar_of(betas): return (1 - betas).cumprod(0)",
])  # fmt: skip
def test_unusual_cells(home, cell):
    assert Session().keep("1.4", cell) == "Kept in mine.py."
    names = {"__name__": "mine", "__file__": str(home / "mine.py")}
    exec((home / "mine.py").read_text(), names)
    betas = torch.rand(6)
    assert torch.allclose(names["alpha_bar_of"](betas), (1 - betas).cumprod(0))


def times(number):
    return f"def alpha_bar_of(betas):\n    return {number} * (1 - betas).cumprod(0)"


@pytest.mark.parametrize("before, cell, words", [
    ("one = 1.0", times("one"), "`one` comes from another cell: mine.py would"),
    ("a = b = 1.0", times("a * b"),
     "`a` comes from another cell; `b` comes from another cell: mine.py would not find them"),
    ("import numpy as np", times("np.ones(1)[0]"),
     "`np` is imported in another cell: mine.py would not find it. Write the import in this one"),
    ("", "one = torch.ones(1)\n" + times("one"), "`one` is computed by its cell"),
    ("from helpers.schedule import linear", times("linear(9).T / 9"),
     "`linear` is the course's: mine.py would not find it"),
    ("", "from helpers import schedule\n" + times("schedule.linear(9).T / 9"),
     "`schedule` is the course's"),
    ("", times("1").replace("\n", "\n    from helpers import schedule\n"), "imports from the course"),
    ("", "def make():\n    return lambda betas: (1 - betas).cumprod(0)\n"
     "alpha_bar_of = make()", "not defined by a `def` or `class`"),
    ("", times("1") + "\nalpha_bar_of = torch.no_grad()(alpha_bar_of)", "anew"),
    ("", "def at(v): return v\n" + times("at(1)"), "`at` of mine.py is another one"),
    ("sum = max", times("sum([1, 1])"), "`sum` comes from another cell"),
    ("", "F = 1.0\n" + times("F"), "`F` of mine.py is another one"),
    ("def walk(): pass", times("1").replace("s)", "s, w=walk)", 1), "`walk` stands further down"),
])  # fmt: skip
def test_a_name_from_nowhere_is_named_at_once(home, before, cell, words):
    begin_with(["1.4"])
    first, session = (home / "mine.py").read_text(), Session()
    session.run(before)
    assert words in session.keep("1.4", cell)
    assert (home / "mine.py").read_text() == first, "a right answer that cannot stand alone replaces nothing"


def test_a_function_of_a_file_or_without_lines_is_said(home):
    assert "stands in a file" in mine.keep("1.4", test_half_of_it)
    names = {}
    exec("def alpha_bar_of(betas): return betas", names)
    assert "could not be read" in mine.keep("1.4", names["alpha_bar_of"])
    assert "could not be read" in mine.keep("1.4", len)


def test_names_of_parts_that_are_not_there_yet_are_fine(home):
    session = begin_with([])
    assert session.keep("2.8", RIGHT["2.8"]) == "Kept in mine.py."
    assert "2.7" not in [p.id for p in mine.split((home / "mine.py").read_text())]


def test_my_is_what_the_notebooks_call_the_parts(home):
    session = begin_with(["2.7"])
    session.names["my"] = mine.parts()
    assert (
        session.keep("2.8", RIGHT["2.8"].replace("posterior_variance(", "my.posterior_variance("))
        == "Kept in mine.py."
    )
    text = (home / "mine.py").read_text()
    assert mine.MY in text and "posterior_variance" in reached(["ancestral_step"], text)
    code = f"import sys; sys.path.insert(0, {str(home)!r}); import mine; print(mine.my.ddim_step.__name__)"
    assert python("-c", code) == "ddim_step"
    my = mine.parts()
    schedule = cosine(10)
    x = my.ddim_step(torch.ones(1), torch.ones(1), 5, 4, torch.ones(1), schedule, 1.0)
    with_mine = torch.allclose(x, Session(RIGHT["2.7"] + "\n" + RIGHT["2.8"]).names["ddim_step"](
        torch.ones(1), torch.ones(1), 5, 4, torch.ones(1), schedule, 1.0))  # fmt: skip
    assert with_mine


def test_a_class_waits_for_the_one_that_it_extends(home):
    session = begin_with(["2.5"])
    said = session.keep("6.1", RIGHT["6.1"])
    assert said == "mine.py takes it once 3.4 `UNet` is right."
    assert "Labelled" not in (home / "mine.py").read_text()
    assert python(home / "mine.py", "check").startswith("1 of the 12")
    assert session.keep("3.4", RIGHT["3.4"]) == "Kept in mine.py."
    assert text_of(home, "6.1") == RIGHT["6.1"]


def test_two_helpers_of_one_name(home):
    session = Session()
    help, cell = "def help(x):\n    return {}\n", "def {}:\n    return help(1 - betas).cumprod(0)\n"
    assert "Kept" in session.keep("1.4", help.format("x") + cell.format("alpha_bar_of(betas)"))
    other = cell.format("linear_betas(betas, b=0)")
    assert session.keep("1.8", help.format("2 * x / 2") + other) == (
        "But 1.4 has another `help` in mine.py: give this one another name.")  # fmt: skip
    assert "Kept" in session.keep("1.8", help.format("x") + other)


# Accidents ------------------------------------------------------------------------------------------


def test_what_was_changed_by_hand_is_kept_beside_it(home):
    session = begin_with(["1.4"])
    file = home / "mine.py"
    for n, name in enumerate(("mine.before.py", "mine.before2.py")):
        changed = file.read_text() + f"\n# my own note {n}\n"
        file.write_text(changed)
        said = session.keep("1.8", RIGHT["1.8"] + f"  # {n}")
        assert said.endswith(f"mine.py was not as it had been written: that version is now {name}.")
        assert (home / name).read_text() == changed and "my own note" not in file.read_text()
    assert sorted(p.name for p in home.iterdir()) == [
        "answers.json",
        "mine.before.py",
        "mine.before2.py",
        "mine.py",
    ]


@pytest.mark.parametrize("content", [b"def (", b"\xff\xfe\x00", b""])
def test_a_damaged_file_is_set_aside(home, content):
    session = begin_with(["1.4"])
    (home / "mine.py").write_bytes(content)
    assert mine.parts().alpha_bar_of(torch.zeros(2)).tolist() == [1, 1]
    assert "mine.py" in mine.summary_lines()[-1]
    assert "mine.before.py" in session.keep("1.8", RIGHT["1.8"])
    assert (home / "mine.before.py").read_bytes() == content
    assert list(mine.read_parts()) == ["1.4", "1.8"]


@pytest.mark.parametrize("content", ["{", "[]", '{"1.4": 3}', "\0", None])
def test_damaged_answers_are_set_aside_and_the_parts_read_from_mine(home, content, capsys):
    session = begin_with(["1.4", "1.8"])
    mine.forget()
    (home / "answers.json").unlink()
    if content is not None:
        (home / "answers.json").write_text(content)
    assert session.keep("1.1", RIGHT["1.1"]) == "Kept in mine.py." or "mine.before.py" in "".join(
        map(str, home.iterdir())
    )
    assert list(mine.read_parts()) == ["1.1", "1.4", "1.8"]
    if content is not None:
        assert (home / "answers.before.json").read_text() == content
        assert capsys.readouterr().out.count("answers.json cannot be read") == 1


def test_a_folder_that_cannot_be_written_disturbs_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(answers.FOLDER, str(tmp_path / "file" / "my-work"))
    said = Session().keep("1.4", RIGHT["1.4"])
    assert said.startswith("But mine.py is as it was: could not write mine.py")
    assert "could not write answers.json" in capsys.readouterr().out
    assert list(mine.read_parts()) == ["1.4"], "this kernel still knows it"
    mine.note("1.3", state="written", first=(1, 2))
    assert mine.noted("1.3") == {"state": "written", "first": [1, 2]} and mine.seed() == mine.seed()
    assert mine.summary_lines()[1].startswith("01  1 of")


def test_a_full_disk_leaves_the_file_as_it_was(home, monkeypatch):
    session = begin_with(["1.4"])
    before = (home / "mine.py").read_text()

    def full(path, content):
        raise OSError("could not write: no space left on the device")

    monkeypatch.setattr(files, "write_bytes", full)
    assert "as it was" in session.keep("1.8", RIGHT["1.8"])
    assert (home / "mine.py").read_text() == before and "1.8" in mine.read_parts()


def test_a_part_that_does_not_run_is_replaced_by_the_reference_and_said(home, capsys):
    session = begin_with(["1.4"])
    session.run("import torch")
    for part, why in (
        ("def alpha_bar_of(betas:", "SyntaxError"), ("raise SystemExit", "SystemExit"),
        ("alpha_bar_of = 1 / 0", "ZeroDivisionError"), ("other = 3", ""), ("torch = None; 1 / 0", "Zero"),
    ):  # fmt: skip
        mine.note("1.4", part=part)
        my, said = mine.parts(), capsys.readouterr().out
        assert said.startswith("1.4 alpha_bar_of in mine.py does not run") and why in said
        assert my.alpha_bar_of(torch.zeros(2)).tolist() == [1, 1] and my.torch is torch
        mine.credit("Schedule")
        assert "reference stands in for 1.4" in capsys.readouterr().out


@pytest.mark.parametrize("text, words", [
    ("while True: pass", "It did not come to its end in 3 s."),
    ("import torch\n1 / 0", "It stops in line 2: ZeroDivisionError"),
    ("import sys; sys.exit(3)", "It stops: exit status 3"),
    ("print('ä', input())", "EOFError"),
])  # fmt: skip
def test_whatever_the_file_does_the_summary_is_shown(home, monkeypatch, text, words):
    monkeypatch.setattr(mine, "SECONDS", 3 if "while" in text else 60)
    home.mkdir()
    (home / "mine.py").write_text(text, encoding="utf-8")
    assert words in mine.summary_lines()[-1]


# Answers --------------------------------------------------------------------------------------------


def test_a_done_task_stays_done(home):
    for state, then in (("written", "written"), ("right", "right"), ("wrong", "right"), ("off", "off")):
        mine.note("1.3", state=state)
        assert mine.noted("1.3")["state"] == then
    mine.note("1.3", odd=float("nan"), other=torch.ones(1), more={(1, 2): 3})
    assert mine.noted("1.3")["other"] == "tensor([1.])"


def test_the_seed_is_drawn_once(home, monkeypatch):
    first = mine.seed()
    assert 1 <= first < 1000 and (home / "seed").read_text() == f"{first}\n"
    mine.forget()
    assert mine.seed() == first
    (home / "seed").write_text("many")
    assert 1 <= mine.seed() < 1000 and mine.seed() == mine.seed()
    monkeypatch.setenv(answers.FOLDER, "")
    assert mine.seed() == 0 and mine.folder() is None


def test_without_a_folder_answers_last_as_long_as_the_kernel(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    mine.note("1.3", first=1)
    assert mine.noted("1.3") == {"first": 1} and not list(tmp_path.iterdir())
    mine.forget()
    assert mine.noted("1.3") == {}


def test_odd_answers_are_noted_in_one_piece_by_two_notebooks(home):
    """Each note reads what another kernel has written meanwhile."""
    mine.note("1.3", first=1)
    table = json.loads((home / "answers.json").read_text())
    (home / "answers.json").write_text(json.dumps(table | {"2.1": {"state": "right"}}))
    mine.note("1.3", state="right")
    assert json.loads((home / "answers.json").read_text()).keys() == {"1.3", "2.1"}
