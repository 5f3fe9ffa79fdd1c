"""What the reader sees: a block for a check, a table for a notebook. No timings, no colour alone."""

import html
import re
import sys

STYLES = {  # Okabe-Ito colours; the border's style and the words say the same as the colour
    "right": ("#009E73", "solid"),
    "not attempted": ("#0072B2", "dotted"),
    "wrong": ("#D55E00", "dashed"),
    "crashed": ("#CC79A7", "double"),
    "broken": ("#999999", "double"),
    "not run": ("#999999", "dotted"),
}
ON = "Carrying on with the reference"


def sentence(exercise, verdict) -> str:
    """The words for one verdict."""
    head = f"{exercise.id} {exercise.title}: "
    return (
        head
        + {
            "right": f"right. Verified: {verdict.message}",
            "not attempted": f"not attempted. {ON}, so the notebook runs on.",
            "wrong": f"not yet. {verdict.message} {ON}.",
            "crashed": f"crashed. {verdict.message} {ON}.",
            "broken": f"could not be judged: the exercise itself is broken ({verdict.message}). {ON}.",
        }[verdict.state]
    )


def show_verdict(exercise, verdict):
    show(sentence(exercise, verdict), verdict.state, verdict.printed)


def show(text: str, state: str, printed: str = ""):
    """Print a block; in a notebook as HTML with the same words."""
    plain = text + (f"\nThe code printed:\n{printed.rstrip()}" if printed.strip() else "")
    colour, line = STYLES[state]
    head, colon, rest = text.partition(": ")
    body = f"<b>{_marked(head)}</b>{colon}{_marked(rest)}"
    if printed.strip():
        body += f"<br>The code printed:<pre>{html.escape(printed.rstrip())}</pre>"
    _emit(
        plain,
        f'<div style="border-left: 5px {line} {colour}; padding: 0.3em 0.8em; margin: 0.3em 0">{body}</div>',
    )


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
    head = "".join(
        f'<th scope="col" style="text-align: left">{h}</th>' for h in ("Exercise", "Title", "State")
    )
    _emit(
        f"{plain}\n{closing}",
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{_marked(closing)}</p>",
    )


def _marked(text):
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _emit(plain, rich):
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(plain)
        return
    from IPython.display import display

    display({"text/plain": plain, "text/html": rich}, raw=True)
