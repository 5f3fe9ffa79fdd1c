"""A made-up course of one small notebook, for testing what builds notebooks."""

from builder.course import Course

SOURCE = """\
# %% [markdown] slideshow={"slide_type": "slide"}
# # A toy
#
# Inside: <!--r:toy.board.inside|.0%-->94%<!--/-->.

# %% tags=["setup"] slideshow={"slide_type": "skip"}
import sys
from pathlib import Path

here = Path.cwd().resolve()
sys.path.insert(0, str(next(p for p in (here, *here.parents) if (p / "helpers").is_dir())))

from helpers import show
from helpers.exercises import check
from helpers.maths import double, load_results

# %% [markdown] exercise_text="1.1" slideshow={"slide_type": "subslide"}
# ## A line
#
# $y = 2x + 1$
#
# <details><summary>Hint 1 (a nudge)</summary>
#
# Think.
#
# </details>
# <details><summary>Hint 2 (almost there)</summary>
#
# Use double.
#
# </details>

# %% exercise="1.1" slideshow={"slide_type": "subslide"}
def line(x):
    # TODO 1.1: the line
    ### BEGIN SOLUTION
    y = double(x)
    return y + 1
    ### END SOLUTION
line = check("1.1", line)

# %% expected="1.1" slideshow={"slide_type": "fragment"}
show.stripe([line(x) for x in range(9)])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Results

# %% slideshow={"slide_type": "fragment"}
print("noise", file=sys.stderr)
print("10%\\r100%")
print(load_results("toy")["board"])

# %% [markdown] tags=["optional"] slideshow={"slide_type": "slide"}
# ## Looking inside

# %% tags=["optional"] slideshow={"slide_type": "-"}
(Path.cwd() / "dirt").exists()
"""

KINDS = """
# %% [markdown] exercise_text="1.2" slideshow={"slide_type": "slide"}
# ## Other kinds
#
# <details><summary>Hint</summary>
#
# Think.
#
# </details>

# %% exercise="1.2" kind="predict" slideshow={"slide_type": "skip"}
# TODO 1.2: the line at 1, and at 2
### BEGIN SOLUTION
guess = 3, 5
### END SOLUTION
check.predict("1.2", guess)

# %% slideshow={"slide_type": "-"}
check.truth("1.2", [line(1), line(2)])

# %% [markdown] exercise_text="1.3" slideshow={"slide_type": "slide"}
# <details><summary>Hint</summary>
#
# Think.
#
# </details>

# %% exercise="1.3" kind="break" slideshow={"slide_type": "skip"}
def bent(x):
    # TODO 1.3: change one thing
    ### BEGIN SOLUTION
    # given: if x > 0:
    # given:     return line(x)
    if x > 1:
        return line(x)
    ### END SOLUTION
    return 0
why = "b"  # "a" or "b"
bent = check.changed("1.3", bent, why)

# %% [markdown] exercise_text="1.10" slideshow={"slide_type": "slide"}
# <details><summary>Hint</summary>
#
# Think.
#
# </details>

# %% exercise="1.10" kind="hunt" slideshow={"slide_type": "skip"}
check.hunt("1.10")

# %% kind="answer" of="1.10" slideshow={"slide_type": "skip"}
line_number = 2   # TODO 1.10: the number of the wrong line
check.found("1.10", line_number)
"""

KINDS_SPECS = """\
EXERCISES = [Exercise("1.1"), Prediction("1.2", "2 numbers"), Break("1.3"), Hunt("1.10", None)]
"""

FILES = {
    "pyproject.toml": """\
[tool.noise-to-digits]
repository = "ada/toy"
version = "v1"
edition = "1"

[tool.other]
version = "2"
""",
    "data/results/toy.json": '{"board": {"inside": 0.9412, "runs": [1, 2]}}',
    "helpers/__init__.py": 'EDITION = "1"\n',
    "helpers/maths.py": '''\
"""Sums."""
import json

from . import places


def double(x):
    """Twice."""
    return 2 * x  # twice


def load_results(name):
    return json.loads((places.RESULTS / f"{name}.json").read_text())
''',
    "helpers/places.py": """\
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "data" / "results"
""",
    "helpers/unused.py": "x = 1\n",
    "helpers/show.py": """\
import io

from IPython.display import Image, display
from PIL import Image as Picture


def stripe(values, alt="A grey stripe [brighter to the right]"):
    picture = Picture.new("L", (900, 30))
    picture.putdata([int(values[i % 900 * len(values) // 900]) * 10 for i in range(900 * 30)])
    out = io.BytesIO()
    picture.save(out, "PNG")
    display(Image(out.getvalue()), metadata={"image/png": {"alt": alt}})
""",
    "helpers/exercises/__init__.py": """\
def check(number, function):
    print(number, "right" if function(3) == 7 else "not attempted")
    return function if function(3) == 7 else lambda x: 2 * x + 1
""",
    "helpers/exercises/nb01.py": 'EXERCISES = [Exercise("1.1", "line")]\n',
    "helpers/exercises/nb02.py": "EXERCISES = []\n",
}

NAME = "01_toy"


def make(root, source: str = SOURCE) -> Course:
    """Write the made-up course under `root`."""
    for name, text in {**FILES, f"notebooks/source/{NAME}.py": source}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Course(root)


def make_kinds(root, kinds: str = KINDS) -> Course:
    """The made-up course with an exercise of every kind."""
    course = make(root, SOURCE + kinds)
    course.exercise_specs("01").write_text(KINDS_SPECS)
    return course


def edit(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new))
