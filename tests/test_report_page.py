"""The class report's page and table: they say what was judged, and nobody's text becomes more than text."""

import csv
import html
import io
import random
import re
from functools import cache
from html.parser import HTMLParser

import pytest

import browser
from class_report import charts, facts, page, sample_class, table, tally
from helpers.exercises import exercises
from report_notebooks import COURSE

NUMBER = "02"


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The course's own pages are read once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("tasks", "truths", "title_of", "slides"):
            patch.setattr(facts, name, cache(getattr(facts, name)))
        yield


@pytest.fixture(scope="module")
def tasks():
    return facts.tasks(COURSE, NUMBER)


def result(student="Ada", problem=None, notebook=NUMBER, **entries):
    """A result; entries: t2_1=("mistake", "sign") or a dict."""
    made = {}
    for key, entry in entries.items():
        entry = entry if isinstance(entry, dict) else dict(zip(("state", "mistake"), entry, strict=False))
        made[key[1:].replace("_", ".")] = dict(kind="write", mistake="", message="", code="") | entry
    return dict(student=student, file=f"{student}.ipynb", notebooks=[notebook], problem=problem, tasks=made)


def write(folder, results, **notes):
    """The page and the rows of the table."""
    shown, sheet = page.write_report(COURSE, results, folder, notes)
    text = sheet.read_text(encoding="utf-8-sig")
    return shown.read_text(encoding="utf-8"), list(csv.reader(io.StringIO(text, newline="")))


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.said = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.said.append(data)


# What is said -------------------------------------------------------------------------------------


def test_every_state_of_a_result_has_its_group(tasks):
    states = {
        "right": "right", "found": "right", "mistake": "named", "wrong": "other", "crashed": "crashed",
        "not attempted": "open", "missing": "open", "reference": "unjudged", "contained": "unjudged",
        "not found": "off", "a state of the future": "unjudged",
    }  # fmt: skip
    found = {state: tally.cell_of(tasks["2.1"], dict(state=state)).group for state in states}
    assert found == states
    unknown = dict(state="not found", mistake="seed unknown")
    assert tally.cell_of(tasks["2.10"], unknown).group == "unjudged"
    guess = dict(state="written", fits=False, mistake="flat")
    assert tally.cell_of(tasks["2.6"], guess).group == "off"
    assert tally.cell_of(tasks["2.6"], guess | {"fits": True}).group == "right"
    assert tally.cell_of(tasks["2.6"], guess | {"fits": None}).group == "unjudged"


def test_bars_count_everybody_once(tasks):
    rows = tally.rows(sample_class.expected_results(COURSE, NUMBER), NUMBER, tasks)
    for id in tasks:
        assert sum(count for _, count in tally.bar(rows, id)) == len(rows) == 29, id


def test_the_most_frequent_mistake_comes_first_with_its_slide(tmp_path, tasks):
    sign = dict(state="mistake", mistake="sign", message="The `score` has the wrong sign.", code="return eps")
    two = [result(name, t2_4=sign) for name in ("Ada", "Bo")]
    three = [result(name, t2_8=("mistake", "noise on top")) for name in ("Cy", "Di", "Ed")]
    alone = [result("Fi", t2_1=("crashed", "NameError"))]
    found = tally.mistakes(tally.rows([*two, *three, *alone], NUMBER, tasks), tasks)
    assert [(m.label, m.count) for m in found] == [("noise on top", 3), ("sign", 2), ("NameError", 1)]
    text, _ = write(tmp_path, [*two, *three, *alone])
    slide, title, _ = facts.slides(COURSE, NUMBER)["2.4"]
    said = " ".join("".join(Reader(text).said).split())
    assert "The score has the wrong sign." in said and "return eps" in said and "Ada, Bo" in said
    assert f"slide {slide} {title}" in said
    assert said.index("2.8 ddim_stepnoise on top") < said.index("2.4 scoresign")


def test_it_says_with_what_to_begin(tasks):
    noise = [result(f"N{i}", t2_8=("mistake", "noise on top")) for i in range(5)]
    flat = dict(kind="predict", state="written", fits=False, mistake="flat", answer=[0.5] * 6)
    guesses = [result(f"G{i}", t2_6=flat) for i in range(4)]
    said = dict(tally.opening(tally.rows([*noise, *guesses], NUMBER, tasks), tasks))
    assert "5 of 9 made the same mistake, “noise on top”" in said["2.8"]
    assert "4 of 4 guesses were off, most often “flat”" in said["2.6"]
    assert len(said) == 3 and "stopped before it" in [*said.values()][2]
    everybody = [
        result(f"R{i}", **{f"t{id.replace('.', '_')}": ("right",) for id in tasks}) for i in range(3)
    ]
    said = tally.opening(tally.rows(everybody, NUMBER, tasks), tasks)
    assert len(said) == 3 and all("3 of 3 have it right" in text for _, text in said)
    assert tally.opening([], tasks) == []


def test_who_is_stuck_and_where(tasks):
    done = {f"t{id.replace('.', '_')}": ("right",) for id in tasks}
    early = result("Ada", t2_1=("right",), t2_2=("not attempted",), t2_3=("wrong", "factor"))
    rows = tally.rows([early, result("Bo", **done)], NUMBER, tasks)
    assert [(s.row.student, s.open, s.stopped) for s in tally.stuck(rows)] == [("Ada", 9, "2.4")]
    assert tally.stops(rows) == {"2.4": 1}


def test_letters_and_numbers_are_drawn_with_their_truth(tasks):
    letters = [
        result(f"S{i}", t2_2=dict(kind="predict", state="written", fits=a == "b", answer=a))
        for i, a in enumerate("bbac")
    ]
    chart = charts.guesses(tally.rows(letters, NUMBER, tasks), tasks["2.2"])
    assert [(b.label, b.hits + b.misses, b.truth) for b in chart["bars"]] == [
        ("a", 1, False), ("b", 2, True), ("c", 1, False), ("d", 0, False),
    ]  # fmt: skip
    sketches = [[0.9, 0.9, 0.8, 0.6, 0.2, 0.0], [0.5] * 6, [1e30] * 6, [0.5] * 5]
    given = [
        result(f"S{i}", t2_6=dict(kind="predict", state="written", fits=i == 0, answer=a))
        for i, a in enumerate(sketches)
    ]
    chart = charts.guesses(tally.rows(given, NUMBER, tasks), tasks["2.6"])
    assert chart["given"] == 4 and chart["unread"] == 1 and len(chart["strips"]) == 6
    first = chart["strips"][0]
    assert sum(b.count for b in first.bins) == 2 and first.outside == "1e+30"
    assert 0 <= first.truth <= 100 and first.said == "0.833"


@pytest.mark.parametrize("number", [path.name[:2] for path in COURSE.source_paths()])
def test_every_prediction_of_the_course_has_a_truth_that_fits(number):
    for id, task in exercises(number).items():
        if task.kind == "predict":
            truth = facts.truth_of(COURSE, id)
            assert truth is not None, f"{id}: its truth is not saved, run `make execute ONLY={number}`"
            assert task.judge(truth, truth)[0] == "right", id


def test_a_hunt_counts_by_line(tasks):
    task = tasks["2.10"]
    right = task.cases[7 % len(task.cases)]
    other = right % len(task.lines) + 1
    hunt = dict(kind="hunt", seed=7)
    results = [
        result("Ada", t2_10=hunt | dict(state="found", answer=right)),
        result("Bo", t2_10=hunt | dict(state="not found", answer=other)),
    ]
    lines = tally.hunted(tally.rows(results, NUMBER, tasks), task)
    assert lines[right - 1][2:] == (2, 1, 0) and lines[other - 1][2:] == (0, 0, 1)


def test_what_was_not_judged_is_said(tmp_path):
    stopped = dict(state="contained", message="It took more than 2 GB of memory.")
    results = [result("Ada", t2_1=stopped), result("Bo", problem="It is no notebook.", notebook="")]
    text, rows = write(tmp_path, results, trust=True, seed=5)
    said = " ".join("".join(Reader(text).said).split())
    assert "Ada, 2.1 exact_denoiser: stopped by the box. It took more than 2 GB of memory." in said
    assert "Bo, Bo.ipynb: It is no notebook." in said
    assert "Judged without a box" in said and "hidden cases of seed 5" in said
    assert rows[1][:5] == ["Ada", "0", "1", "10", "not judged: stopped by the box"] and len(rows) == 2


def test_nothing_handed_in_is_a_page_too(tmp_path):
    text, rows = write(tmp_path, [])
    assert "Nothing was handed in." in text and rows == [["student", "points (of 0)", "attempted", "of"]]


def test_two_notebooks_are_two_parts_and_one_table(tmp_path):
    results = [result("Ada", t2_1=("right",)), result("Bo", t2_1=("right",))]
    results.append(result("Ada", notebook="04", t4_1=("mistake", "sum for mean")))
    text, rows = write(tmp_path, results)
    assert 'id="n02"' in text and 'id="n04"' in text
    assert [row[0] for row in rows[1:]] == ["Ada", "Bo"]
    column = rows[0].index("4.1 train_step")
    assert rows[1][column] == "mistake: sum for mean" and rows[2][column] == "not handed in"
    assert rows[0][1:6] == ["points (of 11)", "02: points (of 6)", "04: points (of 5)", "attempted", "of"]
    assert rows[1][1:6] == ["1", "1", "0", "2", "19"]


def test_points_are_for_what_is_written_and_a_guess_costs_none(tmp_path, tasks):
    """Of 6 points Ada has 6 with every guess off and no line found; Bo, who only guessed well, has none."""
    off = dict(kind="predict", state="written", fits=False, mistake="flat", answer="a")
    fits = off | dict(fits=True, mistake="")
    hunts = dict(kind="hunt", state="not found", answer=1, seed=2), dict(kind="hunt", state="found", answer=1)
    ada, bo = {}, {}
    for id, task in tasks.items():
        key = f"t{id.replace('.', '_')}"
        if task.kind == "write":
            ada[key] = ("right",)
        elif task.kind == "predict":
            ada[key], bo[key] = off, fits
        elif task.kind == "hunt":
            ada[key], bo[key] = hunts
    text, rows = write(tmp_path, [result("Ada", **ada), result("Bo", **bo)])
    assert rows[0][:4] == ["student", "points (of 6)", "attempted", "of"]
    assert [row[:2] for row in rows[1:]] == [["Ada", "6"], ["Bo", "0"]]
    assert rows[1][5] == "off: flat"  # 2.2, a prediction
    row = tally.rows([result("Ada", **ada)], NUMBER, tasks)[0]
    assert row.count("named", "other", "crashed") == 0 and row.points(tasks) == 6
    assert [s.open for s in tally.stuck([row])] == [row.count("open")] == [1]
    assert re.search(r'class="sum">6</td>', text)


def test_two_files_of_one_student_are_two_rows(tasks):
    one, other = result("Ada", t2_1=("right",)), result("Ada", t2_1=("crashed",))
    other["file"] = "late.ipynb"
    rows = tally.rows([one, other], NUMBER, tasks)
    assert [row.student for row in rows] == ["Ada, Ada.ipynb", "Ada, late.ipynb"]


# What stays text ----------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</code></pre></style><iframe src=//example.org></iframe>",
    "{{ 7 * 7 }}{% raw %}",
    "' onmouseover='alert(1)",
    "=cmd|'/c calc'!A1",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "  =1+1",
    "\uff1d1+1",
    "\t-2+3",
    "a\u202eb\x00c\ud800\x1b[31m",
    "\u00b2",
    "<!--", "]]>", "&lt;b&gt;",
    "javascript:alert(1)",
    "x" * 5000,
]  # fmt: skip
MILD = "harmless"


def class_with(texts):
    """A class in which these texts stand wherever a submission can put one."""
    results = []
    for i, text in enumerate(texts):
        entry = dict(state="mistake", mistake=text, message=text, code=text, answer=text, seed=text)
        guess = dict(kind="predict", state="written", fits=False, mistake=text, answer=text)
        found = result(
            text,
            t2_1=entry,
            t2_2=guess,
            t2_3=dict(state=text, message=text),
            t2_4=entry | dict(state="wrong"),
            t2_5=dict(state="contained", message=text),
            t2_6=guess | dict(answer=[text] * 6),
            t2_7=entry | dict(state="crashed"),
            t2_9=entry | dict(kind="break"),
            t2_10=dict(kind="hunt", state="not found", answer=text),
        )
        results += [found, found | dict(file=f"{text}{i}"), result(text, problem=text, notebook="")]
    return results


def test_hostile_text_leaves_the_page_as_a_harmless_one_would(tmp_path):
    """Each text alone on a page: its tags and attributes are those of the page with a harmless word."""

    def shape(text):
        shown, _ = write(tmp_path, class_with([text]), **{"from": text})
        style = shown.index("</style>")
        assert shown.index("<style>") < style and shown.count("</style>") == 1
        return Reader(shown).tags

    def breaks_aside(tags):
        return [tag for tag in tags if tag[0] not in ("wbr", "code")]

    harmless = shape(MILD)
    assert not {"script", "iframe", "img", "object", "link"} & {tag for tag, _ in harmless}
    for text in HOSTILE:
        assert breaks_aside(shape(text)) == breaks_aside(harmless), repr(text)
    named = {name for _, names in harmless for name in names}
    assert not [name for name in named if name.startswith("on")]


def test_hostile_text_can_still_be_read(tmp_path):
    text, _ = write(tmp_path, class_with(HOSTILE))
    said = "".join(Reader(text).said)
    assert "<script>alert(1)</script>" in said and "{{ 7 * 7 }}" in said
    assert "<script" not in text and "\x00" not in text and "\u202e" not in text and "\x1b" not in text
    names = re.findall(r'class="who"><span>(x+)', text)
    assert names and max(map(len, names)) < 100  # a long one is cut


def test_backticks_make_code_and_nothing_else():
    assert page.quoted("use `at(x)` <b>") == "use <code>at(x)</code> &lt;b&gt;"
    assert page.quoted("one ` alone <b>") == "one ` alone &lt;b&gt;"
    assert html.unescape(page.breakable("a_<b>")) == "a_<wbr><b>"


def test_the_page_asks_nobody_and_runs_nothing(tmp_path):
    text, _ = write(tmp_path, sample_class.expected_results(COURSE, NUMBER))
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["'(]?(?:https?:)?//""", text)
    assert len(text) < 400_000


def test_a_spreadsheet_gets_no_formula(tmp_path):
    _, rows = write(tmp_path, class_with(HOSTILE))
    assert len(rows) == 1 + 2 * len(HOSTILE)
    for row in rows:
        assert len(row) == len(rows[0])
        for text in row:
            assert text[:1] not in set("=+-@\t\r|%\uff1d"), text
            assert "\n" not in text and "\r" not in text
    assert any("'=cmd|" in text for row in rows for text in row)  # the apostrophe, and the text behind it


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", " =1", "\t=1", "\uff0b1", "'=1"])
def test_a_formula_becomes_text(text):
    assert table.cell(text).startswith("'")


def test_a_semicolon_divides_no_cells():
    assert table.cell("x;=1") == "x,=1"


def test_other_text_stays():
    assert table.cell("noise on top, 2 + 2") == "noise on top, 2 + 2"


# How it looks -------------------------------------------------------------------------------------


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_a_screen_and_a_phone(tmp_path, width):
    results = [*sample_class.expected_results(COURSE, NUMBER), *class_with(HOSTILE)]
    shown, _ = page.write_report(COURSE, results, tmp_path / "out")
    with browser.page(tmp_path / "profile", width) as opened:
        opened.goto(shown.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert not opened.errors
        opened.check("#veil")
        assert opened.evaluate("getComputedStyle(document.querySelector('.who span')).visibility") == "hidden"
        opened.emulate_media(media="print", color_scheme="dark")
        assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_colour_is_never_all_that_tells_states_apart(tmp_path):
    """Each state has a sign and a word of its own, and each but two a pattern of its own."""
    assert len(set(page.SIGNS.values())) == len(set(tally.GROUPS.values())) == len(tally.GROUPS)
    style = (page.TEMPLATES / "report.css").read_text(encoding="utf-8")
    line = r"^\.%s {[^}]*--marks: ([^;]+);"
    marks = [re.search(line % group, style, re.MULTILINE)[1] for group in tally.GROUPS]
    assert marks.count("none") == 2 and len(set(marks)) == len(marks) - 1


def test_the_sample_is_the_same_every_time_and_has_all_there_is(tasks):
    dice = random.getstate()
    one, other = (sample_class.expected_results(COURSE, NUMBER, seed=3) for _ in range(2))
    assert one == other and random.getstate() == dice
    assert one != sample_class.expected_results(COURSE, NUMBER, seed=4)
    rows = tally.rows(one, NUMBER, tasks)
    assert {cell.group for row in rows for cell in row.cells.values()} == set(tally.GROUPS)
