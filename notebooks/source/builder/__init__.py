"""How one source per notebook becomes two editions: the parts behind ../build.py.

course.py       where things lie, and writing files whole or not at all
source.py       reading a source; what is inside an exercise cell; the rules a source keeps
editions.py     source -> complete edition and student edition
mistakes.py     the pages NN_mistakes.md -> helpers/exercises/mistakes.json
fingerprint.py  what the saved outputs were made from, and what of it has changed since
execute.py      running notebooks and tidying their outputs
saved.py        what a saved notebook must not contain
slides.py       the lecture: decks for a browser
site.py         the course as a site, built by Sphinx from saved notebooks
pageparts.py    what the site adds to notebooks: recorded sliders, explained words, references, exercises
teachpages.py   the pages of the site that are text: help, and the room for whoever teaches
assets.py       the scripts and fonts that site and decks need; templates/ has their look
npm.py          what the site takes from npm, where there is npm
numbers.py      numbers typed in prose, tied to data/results
new.py          the skeleton of a new notebook, and the lists that name it
start.py        the student's own copies in my-work/
links.py        the repository's address and version, and everything that names them
teaching.py     the tables of notebooks/teaching, from slides, exercises and measured seconds
quiz.py         ten questions a notebook: a page of markdown, and the same for Moodle
"""

import sys
from pathlib import Path


def say_stopped(kind, err, trace) -> None:
    """A sentence for Ctrl-C while the packages below are still imported; every other end as usual."""
    print("\nstopped", file=sys.stderr) if kind is KeyboardInterrupt else sys.__excepthook__(kind, err, trace)


sys.excepthook = say_stopped
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for helpers.files
