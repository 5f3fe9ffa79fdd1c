"""Ten questions a notebook: notebooks/teaching/quiz_NN.md, and the same for Moodle in quiz_NN.gift.

    # Quiz 02: Denoising points

    Ten questions ...

    ## 1. What does the best denoiser return where almost all is noise?

    - [ ] The training point nearest to x_t.
      - *Nearest-point thinking:* with this much noise all points are about equally likely.
    - [x] About the mean of all training points.
      - All points are about equally likely, so their mean is the best guess.

A question may go on in paragraphs, code and formulas above its options. Three or four options, one right;
below each stands a sentence or two: for a wrong one `*the misconception:* why it is wrong`, for the right one
why it is right. A page without questions is one that is still to be written: there is no GIFT of it.

GIFT is the text format that Moodle imports questions from. Its texts are HTML here, its formulas \\( \\),
which Moodle's MathJax filter takes.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from .course import BuildError, Course, read_text, write_text

QUESTIONS, OPTIONS = 10, (3, 4)
CATEGORY = "$course$/top/Noise to Digits"  # below it one category a notebook


@dataclass(frozen=True)
class Option:
    """One answer to choose. `name`: the misconception behind a wrong one, "" for the right one."""

    text: str
    right: bool
    name: str
    why: str
    line: int


@dataclass(frozen=True)
class Question:
    """A question as markdown: its title and what stands below it, its options in their order."""

    number: int
    title: str
    more: str
    options: tuple[Option, ...]
    line: int

    @property
    def text(self) -> str:
        return f"{self.title}\n\n{self.more}".strip()


@dataclass(frozen=True)
class Quiz:
    """The quiz of notebook `number`: its title without the number, its opening words, its questions."""

    number: str
    title: str
    about: str
    questions: tuple[Question, ...]


# Reading --------------------------------------------------------------------------------------------------

TITLE = re.compile(r"# Quiz (\d\d): (\S.*)")
QUESTION = re.compile(r"## (\d+)\. (\S.*)")
OPTION = re.compile(r"- \[([ xX])\] (\S.*)")
WHY = re.compile(r" {2,}[-*] +(\S.*)")
NAMED = re.compile(r"\*([^*]+?):\*\s+(\S.*)", re.DOTALL)


def paths(course: Course) -> list[Path]:
    """The quizzes that there are, in order."""
    return sorted(course.teaching.glob("quiz_[0-9][0-9].md"))


def read_quiz(path: Path) -> Quiz:
    """The quiz in a file quiz_NN.md. Raises BuildError with the file and the line of what is wrong."""
    try:
        return parse_quiz(read_text(path), path.stem[-2:])
    except ValueError as err:
        raise BuildError(f"{path.name}, {err}") from None


def parse_quiz(text: str, number: str) -> Quiz:
    """The quiz of notebook `number` ("02"). Raises ValueError, "line 7: ...", for what is wrong."""
    blocks = _blocks(text)
    at, lines = blocks[0]
    title = TITLE.fullmatch(lines[0].rstrip())
    if not title or title[1] != number:
        raise ValueError(f'line 1: it begins with "# Quiz {number}: " and the title of the notebook')
    questions = tuple(_question(at, lines) for at, lines in blocks[1:])
    for wanted, question in enumerate(questions, start=1):
        if question.number != wanted:
            raise ValueError(f"line {question.line}: this is question {question.number}, {wanted} is due")
    if questions and len(questions) != QUESTIONS:
        said = f"there are {len(questions)} questions, {QUESTIONS} are wanted"
        raise ValueError(f"line {questions[-1].line}: {said}")
    return Quiz(number, title[2].strip(), "\n".join(lines[1:]).strip(), questions)


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """The page cut at its ## headings: (number of its first line, lines). A ## in code cuts nothing."""
    blocks, fenced = [(1, [])], False
    for at, line in enumerate(text.splitlines(), start=1):
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("## ") and not fenced:
            blocks.append((at, []))
        blocks[-1][1].append(line)
    if fenced:
        raise ValueError(f"line {blocks[-1][0]}: a code block below it has no end")
    return blocks if blocks[0][1] else [(1, [""]), *blocks[1:]]


def _question(at: int, lines: list[str]) -> Question:
    head = QUESTION.fullmatch(lines[0].rstrip())
    if not head:
        raise ValueError(f'line {at}: a question begins with "## 1. " and its text, not {lines[0][:40]!r}')
    more, marked, last = [], [], None  # marked: [line, mark, text, why], one an option
    fenced = False
    for here, line in enumerate(lines[1:], start=at + 1):
        fenced ^= not marked and line.lstrip().startswith("```")
        option, why = OPTION.fullmatch(line.rstrip()), WHY.fullmatch(line.rstrip())
        if option and not fenced:
            marked.append([here, option[1], option[2], None])
            last = 2
        elif not marked:
            more.append(line)
        elif why:
            if marked[-1][3] is not None:
                raise ValueError(f"line {here}: the option has a second explanation; write one")
            marked[-1][3], last = why[1], 3
        elif line.startswith("  ") and line.strip():
            marked[-1][last] += f"\n{line.strip()}"
        elif line.strip():
            raise ValueError(f"line {here}: it belongs to no option: write - [ ] or - [x] and a text")
    options = tuple(_option(*each) for each in marked)
    question = Question(int(head[1]), head[2].strip(), "\n".join(more).strip(), options, at)
    if said := _problem(question):
        raise ValueError(f"line {at}: question {question.number} {said}")
    return question


def _option(line: int, mark: str, text: str, why: str | None) -> Option:
    if why is None:
        raise ValueError(f"line {line}: no explanation below this option; indent it by two: - *name:* why")
    named, right = NAMED.fullmatch(why), mark != " "
    if right and named:
        raise ValueError(f"line {line}: this option is right, so it names no misconception: say why it is")
    if not right and not named:
        raise ValueError(f"line {line}: this option is wrong, so below it stands - *the misconception:* why")
    for part in (text, why):
        if _without_code(part).count("$") % 2:
            raise ValueError(f"line {line}: a $ without its second")
    return Option(text, right, named[1] if named else "", named[2] if named else why, line)


def _problem(question: Question) -> str:
    """What is wrong with a question as a whole, or ""."""
    count, right = len(question.options), sum(option.right for option in question.options)
    if count not in OPTIONS:
        return f"has {count} options, three or four are wanted"
    if right != 1:
        return f"has {right} right options, [x], one is wanted"
    if _without_code(question.text).count("$") % 2:
        return "has a $ without its second"
    seen = {}
    for option in question.options:
        words = re.sub(r"[\s.,;:!?]+", " ", option.text).strip().lower()
        if words in seen:
            return f"has two options alike, in lines {seen[words]} and {option.line}"
        seen[words] = option.line
    return ""


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`|\\\$", "", text, flags=re.DOTALL)


# GIFT -----------------------------------------------------------------------------------------------------

ESCAPED = re.compile(r"[\\~=#{}:]")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def gift(quiz: Quiz) -> str:
    """The quiz in GIFT: a category of its own, questions named 02.1 and so on, a feedback for each option."""
    name = f"{quiz.number} {quiz.title}".replace("/", "//")
    parts = [
        f"// Quiz {quiz.number}, written by `make numbers` from quiz_{quiz.number}.md: change it there.",
        f"$CATEGORY: {CATEGORY}/{name}",
    ]
    for question in quiz.questions:
        lines = [f"::{quiz.number}.{question.number}::[html]{_gift_text(question.text)}{{"]
        for option in question.options:
            why = f"*{option.name}:* {option.why}" if option.name else option.why
            mark = "=" if option.right else "~"
            lines.append(f"\t{mark}[html]{_gift_text(option.text)}#[html]{_gift_text(why)}")
        parts.append("\n".join([*lines, "}"]))
    return "\n\n".join(parts) + "\n"


def _gift_text(markdown: str) -> str:
    """Markdown as one line of a GIFT file: HTML whose control characters have a backslash before them."""
    text = ESCAPED.sub(lambda found: f"\\{found[0]}", to_html(markdown))
    return text.replace("\n", "\\n")


def to_html(markdown: str) -> str:
    """Markdown as HTML, with formulas as \\( \\) and \\[ \\]; one paragraph alone has no <p> around it."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def inline(renderer, tokens, at, *_) -> str:
        return f"\\({html.escape(tokens[at].content.strip(), quote=False)}\\)"

    def display(renderer, tokens, at, *_) -> str:
        return f"\\[{html.escape(tokens[at].content.strip(), quote=False)}\\]"

    markdown = COMMENT.sub("", markdown)  # the marks of numbers.py
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.use(dollarmath_plugin, double_inline=True, allow_labels=False)
    reader.add_render_rule("math_inline", inline)
    for kind in ("math_inline_double", "math_block"):
        reader.add_render_rule(kind, display)
    made = reader.render(markdown).strip()
    alone = re.fullmatch(r"<p>((?:(?!<p>).)*)</p>", made, re.DOTALL)
    return alone[1].replace("\n", " ") if alone else made


def write_quizzes(course: Course) -> list[str]:
    """Write quiz_NN.gift beside every quiz; returns the names of changed files.

    Raises BuildError naming every quiz that is wrong; the others are written before.
    """
    changed, wrong = [], []
    for path in paths(course):
        target = path.with_suffix(".gift")
        try:
            quiz = read_quiz(path)
        except BuildError as err:
            wrong.append(str(err))
            continue
        if quiz.questions and write_text(target, gift(quiz)):
            changed.append(target.relative_to(course.root).as_posix())
    if wrong:
        raise BuildError("\n".join(wrong))
    return changed


# The page of the site -------------------------------------------------------------------------------------


def page(quiz: Quiz) -> str:
    """The quiz as markdown for the site: options to choose from, the answers in a closed fold below each."""
    parts = [f"# Quiz {quiz.number}: {quiz.title}", quiz.about]
    for question in quiz.questions:
        letters = dict(zip("abcd", question.options, strict=False))
        shown = "\n".join(f"- ({letter}) {_inside(option.text)}" for letter, option in letters.items())
        right = next(letter for letter, option in letters.items() if option.right)
        told = "\n".join(f"- ({letter}) {_told(option)}" for letter, option in letters.items())
        parts += [
            f"## {question.number}. {question.title}",
            question.more,
            f"{{.options}}\n{shown}",
            f"<details><summary>Answer</summary>\n\n**({right})**\n\n{{.options}}\n{told}\n\n</details>",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _told(option: Option) -> str:
    return f"Right. {_inside(option.why)}" if option.right else f"*{option.name}:* {_inside(option.why)}"


def _inside(text: str) -> str:
    return text.replace("\n", "\n  ")
