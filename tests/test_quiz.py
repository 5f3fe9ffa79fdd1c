"""Quizzes: what is wrong is named with its line; Moodle's file says the same; no shape tells the answer."""

import re
from pathlib import Path

import pytest

import toy_course
from builder import quiz
from builder.course import BuildError, Course

COURSE = Course(Path(__file__).resolve().parents[1])
WRITTEN = [path for path in quiz.paths(COURSE) if "\n## " in path.read_text(encoding="utf-8")]
written = pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)

ONE = r"""## {n}. What is ${{a}}_{n}$ in `f(x=1)`?

- [ ] It is $\nabla x$ : 1 ~ {n}.
  - *Sign # forgotten:* no, {{that}} is
    not it: a = b.
- [x] It is {n} & <more>.
  - Because of $$\frac{{1}}{{2}}$$ and **so** on.
- [ ] The other
  one, {n}.
  - *Half:* not at all.
"""
PAGE = "# Quiz 01: A toy: first\n\nTen questions.\n\n" + "\n".join(ONE.format(n=n) for n in range(1, 11))
MORE = "\n\nLook at this:\n\n```python\n## 7. no heading\n- [ ] = no {option}\n\nx = 1\n```\n\nWhy?\n"


# What is wrong is named -----------------------------------------------------------------------------------


def replaced(old: str, new: str) -> str:
    assert old in PAGE
    return PAGE.replace(old, new, 1)


HALF = "  - *Half:* not at all.\n"
OTHER = f"- [ ] The other\n  one, 1.\n{HALF}"
WRONG = {
    "another number": (replaced("# Quiz 01", "# Quiz 02"), 'line 1: it begins with "# Quiz 01: "'),
    "no title": (PAGE.partition("\n")[2], "line 1: it begins with"),
    "two right": (replaced("- [ ]", "- [x]").replace("*Sign # forgotten:* ", "", 1), "line 5: .* 2 right"),
    "none right": (replaced("[x]", "[ ]").replace("Because", "*So:* because", 1), "line 5: .* 0 right"),
    "no explanation": (replaced(HALF, ""), "line 12: no explanation"),
    "two explanations": (replaced(HALF, 2 * HALF), "line 15: .* second explanation"),
    "no misconception": (replaced("*Half:* ", ""), "line 12: this option is wrong, so"),
    "a misconception in the right": (replaced("- Because", "- *So:* because"), "line 10: .* is right, so"),
    "two alike": (replaced("The other\n  one, 1.", "it is  1 & <more>"), "line 5: .* in lines 10 and 12"),
    "two options": (replaced(OTHER, ""), "line 5: .* 2 options"),
    "nine questions": (PAGE.partition("## 10.")[0], "line 93: there are 9 questions, 10 are"),
    "eleven": (PAGE + "\n" + ONE.format(n=11), "line 115: there are 11 questions"),
    "left out": (replaced("## 2.", "## 3."), "line 16: this is question 3, 2 is due"),
    "no number": (replaced("## 2. ", "## "), 'line 16: a question begins with "## 1. "'),
    "text behind": (replaced("one, 1.\n", "one, 1.\n\nAnd more.\n"), "line 15: it belongs to no option"),
    "half a formula": (replaced(r"$\nabla x$", r"$\nabla x"), r"line 7: a \$ without its second"),
    "half a formula above": (replaced("$ in", " in"), r"line 5: .* a \$ without"),
    "code without end": (PAGE + "\n```\n", "line 104: a code block below it has no end"),
}


@pytest.mark.parametrize("text, said", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, text, said):
    path = tmp_path / "quiz_01.md"
    path.write_text(text)
    with pytest.raises(BuildError, match=f"quiz_01.md, {said}"):
        quiz.read_quiz(path)


def test_a_wrong_one_stops_no_other_and_an_empty_one_has_no_file(tmp_path):
    course = toy_course.make(tmp_path)
    course.teaching.mkdir()
    for number, text in {
        "01": PAGE.replace("## 10.", "##"),
        "02": PAGE,
        "03": "# Quiz 03: Later\n\nTo be written.\n",
    }.items():
        (course.teaching / f"quiz_{number}.md").write_text(text.replace("Quiz 01", f"Quiz {number}"))
    with pytest.raises(BuildError, match="quiz_01.md, line 104") as said:
        quiz.write_quizzes(course)
    assert "quiz_02" not in str(said.value)
    assert [path.name for path in course.teaching.glob("*.gift")] == ["quiz_02.gift"]
    (course.teaching / "quiz_01.md").write_text(PAGE)
    assert quiz.write_quizzes(course) == ["notebooks/teaching/quiz_01.gift"]
    assert quiz.write_quizzes(course) == []


# GIFT, read back as Moodle reads it -----------------------------------------------------------------------


def hide(text: str) -> str:
    """The text with each escaped character as one of a private range: what is left of GIFT's are signs."""
    return re.sub(r"\\([\\~=#{}:n])", lambda found: chr(0xE000 + ord(found[1])), text)


def show(text: str) -> str:
    shown = re.sub("[\ue000-\ue0ff]", lambda found: chr(ord(found[0]) - 0xE000).replace("n", "\n"), text)
    assert text.startswith("[html]")
    return shown.removeprefix("[html]")


def read_gift(text: str):
    """(category, [(name, question, [(right, answer, feedback)])]) of a GIFT file, by rules of its own."""
    category, questions = None, []
    for block in re.split(r"\n\s*\n", text.strip()):
        block = hide("\n".join(line for line in block.splitlines() if not line.startswith("//")))
        if not block:
            continue
        if block.startswith("$CATEGORY:"):
            category = block.removeprefix("$CATEGORY:").strip()
            continue
        name, asked, answers = re.fullmatch(r"::([^:]*)::([^{}]*)\{([^{}]*)\}", block).groups()
        cut = re.split(r"\s*([=~])", answers.strip())
        assert cut[0] == ""
        found = []
        for mark, answer in zip(cut[1::2], cut[2::2], strict=True):
            shown, feedback = answer.strip().split("#")
            found.append((mark == "=", show(shown), show(feedback)))
        questions.append((name, show(asked), found))
    return category, questions


def same(made, wanted: quiz.Quiz) -> None:
    category, questions = made
    assert category == f"{quiz.CATEGORY}/{wanted.number} {wanted.title.replace('/', '//')}"
    assert [name for name, *_ in questions] == [f"{wanted.number}.{n}" for n in range(1, 11)]
    for (_, asked, answers), question in zip(questions, wanted.questions, strict=True):
        assert asked == quiz.to_html(question.text)
        assert [right for right, *_ in answers] == [option.right for option in question.options]
        for (_, shown, feedback), option in zip(answers, question.options, strict=True):
            assert shown == quiz.to_html(option.text)
            named = quiz.to_html(f"*{option.name}:* ") if option.name else ""
            assert feedback == f"{named} {quiz.to_html(option.why)}".strip()


def test_gift_keeps_every_character():
    text = PAGE.replace("`f(x=1)`?\n", "`f(x=1)`?" + MORE, 1)
    parsed = quiz.parse_quiz(text, "01")
    made = quiz.gift(parsed)
    same(read_gift(made), parsed)
    _, questions = read_gift(made)
    name, asked, answers = questions[0]
    assert name == "01.1" and asked.startswith(r"<p>What is \({a}_1\) in <code>f(x=1)</code>?</p>")
    assert "## 7. no heading\n- [ ] = no {option}\n\nx = 1\n</code></pre>" in asked
    assert answers[0][1] == r"It is \(\nabla x\) : 1 ~ 1."
    assert answers[0][2] == "<em>Sign # forgotten:</em> no, {that} is not it: a = b."
    assert answers[1][1] == "It is 1 &amp; &lt;more&gt;."
    assert answers[1][2] == r"Because of \[\frac{1}{2}\] and <strong>so</strong> on."
    assert answers[2][1] == "The other one, 1."
    assert r"\\nabla" in made and "\\nabla" not in made.replace("\\\\nabla", "")


def test_marks_of_numbers_are_not_shown():
    assert quiz.to_html("It is <!--r:a.b|.0%-->94%<!--/-->.") == "It is 94%."


def test_the_page_of_the_site_folds_the_answers():
    made = quiz.page(quiz.parse_quiz(PAGE, "01"))
    assert made.count("<details>") == made.count("</details>") == 10
    outside = re.sub(r"<details>.*?</details>", "", made, flags=re.DOTALL)
    assert "[x]" not in made and "Because" not in outside and "Half" not in outside
    assert outside.count("- (c) The other\n  one") == 10
    assert made.count("**(b)**") == made.count("- (b) Right. Because") == 10


# The quizzes of this course -------------------------------------------------------------------------------


def test_twelve_notebooks_have_ten_questions():
    assert {path.stem for path in WRITTEN} >= {f"quiz_{n:02d}" for n in range(12)}
    assert all(len(quiz.read_quiz(path).questions) == 10 for path in WRITTEN)


@written
def test_moodles_file_is_in_step_and_says_the_same(path):
    parsed, text = quiz.read_quiz(path), path.with_suffix(".gift").read_text(encoding="utf-8")
    assert text == quiz.gift(parsed), "run `make numbers`"
    same(read_gift(text), parsed)


@written
def test_formulas_are_those_of_moodle(path):
    text = path.with_suffix(".gift").read_text(encoding="utf-8")
    without = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", text)
    assert "$" not in without.partition("\n\n::")[2], "a formula between dollars is left"


@written
def test_the_place_of_the_right_answer_tells_nothing(path):
    questions = quiz.read_quiz(path).questions
    places = [[option.right for option in question.options].index(True) for question in questions]
    assert len(set(places)) >= 3 and max(map(places.count, places)) <= 5, places


@written
def test_the_length_of_the_right_answer_tells_nothing(path):
    longest = 0
    for question in quiz.read_quiz(path).questions:
        lengths = {option.right: [] for option in question.options}
        for option in question.options:
            lengths[option.right].append(len(option.text))
        longest += max(lengths[True]) > max(lengths[False])
    assert longest <= 5, f"the right answer is the longest in {longest} of 10 questions"


@written
def test_the_title_is_that_of_the_page_beside_it(path):
    number = path.stem[-2:]
    page = (COURSE.teaching / f"{number}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# Teaching {number}: {quiz.read_quiz(path).title}\n")
