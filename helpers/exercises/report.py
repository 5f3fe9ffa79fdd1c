"""What the reader sees: a block for a check, a table for a notebook. No timings, no colour alone."""

import html
import inspect
import re
import sys

STYLES = {  # Okabe-Ito colours; the border's style and the words say the same as the colour
    "right": ("#009E73", "solid"),
    "not attempted": ("#0072B2", "dotted"),
    "wrong": ("#D55E00", "dashed"),
    "crashed": ("#CC79A7", "double"),
    "broken": ("#999999", "double"),
    "not run": ("#999999", "dotted"),
    "written": ("#0072B2", "solid"),
    "off": ("#E69F00", "solid"),
    "found": ("#009E73", "solid"),
}
PLAIN = {
    "written": "written down: ",
    "found": "found, ",
    "wrong": "",
}  # begins the words of what is no function
ON = "Carrying on with the reference"


def sentence(exercise, verdict) -> str:
    """The words for one verdict."""
    if exercise.kind in ("predict", "hunt"):
        begun = PLAIN.get(verdict.state, f"{verdict.state}. ")
        return f"{exercise.id} {exercise.title}: {begun}{verdict.message}"
    words = {
        "right": f"right. Verified: {verdict.message}",
        "not attempted": f"not attempted. {ON}, so the notebook runs on.",
        "wrong": f"not yet. {verdict.message} {ON}.",
        "crashed": f"crashed. {verdict.message} {ON}.",
        "broken": f"could not be checked: the exercise itself is broken ({verdict.message}). {ON}.",
    }
    return f"{exercise.id} {exercise.title}: {words[verdict.state]}"


def show_verdict(exercise, verdict):
    show(sentence(exercise, verdict), verdict.state, verdict.printed)


def state_words(exercise, state: str, mistake: str) -> str:
    """A state, shortly, for the table."""
    if state == "wrong" and (exercise.kind == "hunt" or mistake.startswith("right change")):
        return mistake
    if state == "found":
        return f"found ({mistake})" if mistake else state
    words = {"wrong": "not yet", "written": "written down"}.get(state, state)
    return f"{words}: {mistake}" if mistake else words


def show_reference(exercise, earlier):
    """Say that `check` was handed the reference; earlier: the verdict that stands, or None."""
    own = f"{'a class' if inspect.isclass(exercise.reference) else 'a function'} of the course's own"
    if earlier is None:
        show(f"{exercise.id} {exercise.title}: not checked. This is {own}: hand in yours.", "not run")
        return
    why = f"This verdict stands from before: what `check` got now is {own}, which it had returned itself. "
    show(f"{sentence(exercise, earlier)} {why}Run the lines that define yours again.", earlier.state)


def show(text: str, state: str, printed: str = ""):
    """Print a block; in a notebook as HTML with the same words."""
    text, printed = (part.encode("utf-8", "replace").decode() for part in (text, printed))
    plain = text + (f"\nThe code printed:\n{printed.rstrip()}" if printed.strip() else "")
    colour, line = STYLES[state]
    head, colon, rest = text.partition(": ")
    body = f"<b>{_marked(head)}</b>{colon}{_marked(rest)}"
    if printed.strip():
        body += f"<br>The code printed:<pre>{html.escape(printed.rstrip())}</pre>"
    _emit(plain, _draw_block(colour, line, body))


def show_lines(head: str, lines: list[str], closing: str):
    """Numbered lines of code, as they are."""
    plain = "\n".join(f"{n:>3}  {line}".rstrip() for n, line in enumerate(lines, 1))
    body = f"<b>{_marked(head)}</b><pre>{html.escape(plain)}</pre>{_marked(closing)}"
    _emit(f"{head}\n{plain}\n{closing}", _draw_block(*STYLES["not attempted"], body))


def show_table(rows: list[tuple[str, str, str, str]], closing: str):
    """rows: (id, title, state, words)."""
    cells = [("exercise", "title", "state")] + [(id, title, words) for id, title, _, words in rows]
    wide = [max(len(row[i]) for row in cells) for i in range(3)]
    plain = "\n".join("  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip() for row in cells)
    body = "".join(
        f'<tr style="text-align: left; border-left: 5px {STYLES[state][1]} {STYLES[state][0]}">'
        + "".join(f'<td style="text-align: left">{_marked(cell)}</td>' for cell in (id, title, words))
        + "</tr>"
        for id, title, state, words in rows
    )
    titles = ("Exercise", "Title", "State")
    head = "".join(f'<th scope="col" style="text-align: left">{title}</th>' for title in titles)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    said = "<br>".join(map(_marked, closing.split("\n")))
    _emit(f"{plain}\n{closing}", f"{table}<p>{said}</p>")


def _draw_block(colour, line, body):
    style = f"border-left: 5px {line} {colour}; padding: 0.3em 0.8em; margin: 0.3em 0"
    return f'<div style="{style}">{body}</div>'


def _marked(text):
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _emit(plain, rich):
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(plain)
        return
    from IPython.display import display

    display({"text/plain": plain, "text/html": rich}, raw=True)
