"""Build, execute and check the notebooks. One source NN_name.py here makes both editions.

    python notebooks/source/build.py editions         write notebooks/ and notebooks/student/ from the sources
    python notebooks/source/build.py mistakes         build the pages NN_mistakes.md and say what pairs
    python notebooks/source/build.py execute --stale  execute what is stale and save the outputs
    python notebooks/source/build.py check            name what is out of step or stale
    python notebooks/source/build.py numbers          rewrite marked numbers and tables, quizzes for Moodle
    python notebooks/source/build.py slides           write the lecture's decks to out/slides
    python notebooks/source/build.py links            re-point badges and first cells to a repository
    python notebooks/source/build.py site             make the site of the saved notebooks, out/site
    python notebooks/source/build.py open             show the site in a browser; make it where there is none
    python notebooks/source/build.py run              execute everything into out/, the tree stays as it is
    python notebooks/source/build.py start            fill my-work/ with copies of the student edition
    python notebooks/source/build.py report --from F  judge a folder of submissions and write the class report
    python notebooks/source/build.py new 12 "A title" write the skeleton of a new notebook

`editions`, `mistakes`, `execute`, `check`, `slides`, `run`, `report` take `--only NN`. README.md says more,
and so does builder/__init__.py.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from builder.assets import fetch_assets
from builder.course import (
    BuildError,
    Course,
    make_folder,
    notebook_text,
    parse_notebook,
    read_notebook,
    read_text,
    write_text,
)
from builder.editions import RECORD, complete_edition, editions, write_editions, write_grading_editions
from builder.execute import keep_seconds, read_seconds
from builder.execute import run as run_notebook
from builder.fingerprint import changes, fingerprint
from builder.links import write_links
from builder.new import write_skeleton
from builder.numbers import refill
from builder.pageparts import unrecorded
from builder.quiz import write_quizzes
from builder.saved import problems as saved_problems
from builder.site import serve, write_site
from builder.slides import write_deck
from builder.source import read_source
from builder.start import start
from builder.teaching import refill as refill_tables

MODES = ("read", "smoke", "full")
ROOT = Path(__file__).resolve().parents[2]


def say(*words, **options) -> None:
    print(*words, flush=True, **options)


def reasons(course: Course, name: str) -> tuple[list[str], list[str]]:
    """Why notebook `name` is out of step with its source, and why its outputs are stale."""
    out_of_step, built = [], editions(course, name)
    for path, text in zip((course.complete_path(name), course.student_path(name)), built, strict=True):
        if not path.exists():
            out_of_step.append(f"{path.relative_to(course.root)} is missing")
        elif read_text(path) != text:
            cells = differing_cells(read_notebook(path), parse_notebook(text))
            out_of_step.append(f"{path.relative_to(course.root)} differs from the source ({cells})")
    return out_of_step, stale_parts(course, name, parse_notebook(built[0]))


def stale_parts(course: Course, name: str, complete) -> list[str]:
    """What has changed since the outputs of the complete edition were made; an empty list: they are fresh."""
    inputs = complete.metadata.get(RECORD, {}).get("inputs")
    return changes(inputs, fingerprint(course, name, complete)) if inputs else ["never executed"]


def differing_cells(old, new) -> str:
    """Which cells differ between two notebooks, in a few words."""
    before, after = {c.id: c for c in old.cells}, {c.id: c for c in new.cells}
    differing = [i for i in {**before, **after} if before.get(i) != after.get(i)]
    if not differing:
        return "order of cells or notebook metadata"
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    return f"cells {', '.join(differing[:4])}{more}"


def orphans(course: Course) -> list[str]:
    """Notebooks without a source."""
    names = {path.stem for path in course.source_paths()}
    found = [*course.complete.glob("*.ipynb"), *course.student.glob("*.ipynb")]
    return [f"{p.relative_to(course.root)} has no source" for p in sorted(found) if p.stem not in names]


def check(course: Course, only: str | None) -> bool:
    """Say of each notebook whether it is in step with its source and its outputs are fresh."""
    os.environ.pop("MPLBACKEND", None)  # of a screen, or of nothing at all: no notebook is to draw by it
    from builder import mistakes  # it brings torch, which most commands do without

    wrong = orphans(course) if only is None else []
    for path in course.source_paths(only):
        try:
            step, stale = reasons(course, path.stem)
            step += mistakes.stale(course, path.name[:2])
        except BuildError as err:
            wrong.append(str(err))
            continue
        wrong += [f"{path.stem}: {text}; run `make editions`" for text in step]
        wrong += [f"{path.stem}: outputs are stale: {', '.join(stale)}; run `make execute`"] if stale else []
        if not step and not stale:
            say(f"{path.stem}: in step and fresh")
    for text in wrong:
        say(text)
    return not wrong


def execute(course: Course, only: str | None, stale_only: bool, draft: bool) -> None:
    """Execute the complete edition in read mode and save its outputs, then renew the student edition."""
    failed = []
    read_seconds(course)  # a damaged file is named now, not after the minutes of the first notebook
    for path in course.source_paths(only):
        name, target = path.stem, course.complete_path(path.stem)
        try:
            notebook = parse_notebook(editions(course, name, draft, say)[0])
            fresh = not stale_parts(course, name, notebook) and not unrecorded(course, name, notebook.cells)
            if stale_only and fresh:
                write_editions(course, name[:2], draft, lambda text: None)
                say(f"{name}: fresh")
                continue
            say(f"{name}: {len(notebook.cells)} cells ...", end=" ")
            frames = course.complete / "live" / "frames"
            seconds, noise = run_notebook(course, name, notebook, course.root / "out", record=frames)
            write_text(target, notebook_text(notebook))
            keep_seconds(course, name, seconds)
            write_editions(course, name[:2], draft, lambda text: None)  # the new expected pictures
        except BuildError as err:
            say(f"\n{err}")
            failed.append(name)
            continue
        say(f"{seconds['all']:.0f} s, saved")
        for text in noise:
            say(f"  stderr, not saved: {text}")
        for text in saved_problems(notebook):
            say(f"  to put right: {text}")
    if failed:
        raise BuildError(f"not executed: {', '.join(failed)}")


def run(course: Course, only: str | None, out: Path, mode: str) -> None:
    """Execute the complete edition into `out`: notebooks, GIFs, PNGs, the site. The tree stays as it is."""
    total, paths, more = 0.0, course.source_paths(only), pip_args()
    make_folder(out)
    for i, path in enumerate(paths, start=1):
        notebook = complete_edition(read_source(path))
        say(f"[{i}/{len(paths)}] {path.stem}: {len(notebook.cells)} cells ...", end=" ")
        seconds, _ = run_notebook(course, path.stem, notebook, out, mode)
        total += seconds["all"]
        write_text(out / f"{path.stem}.ipynb", notebook_text(notebook))
        say(f"{seconds['all']:.0f} s")
    kinds = [f"{len(list(out.glob(f'*.{kind}')))} {kind}" for kind in ("ipynb", "gif", "png")]
    say(f"{len(paths)} notebooks in {total:.0f} s; in {out}: {', '.join(kinds)}")
    site(course, out, [path.stem for path in paths], more)


def site(course: Course, out: Path, executed=(), more=()) -> None:
    """Make the site in `out`, with the notebooks named `executed` as they are there, the others as saved."""
    say("the site ...")
    for text in write_site(course, out, executed, more, say):
        say(f"  to put right: {text}")
    say(f"open {out / 'index.html'} in a browser (make open: with the digits alive)")


def write_mistakes(course: Course, only: str | None, always=False, say=lambda text: None) -> list[str]:
    os.environ.pop("MPLBACKEND", None)  # of a screen, or of nothing at all: no notebook is to draw by it
    from builder import mistakes  # it brings torch, which most commands do without

    return mistakes.write_mistakes(course, only, always, say)


def pip_args() -> list[str]:
    """What the caller wants pip to be told as well."""
    try:
        return shlex.split(os.environ.get("PIP_ARGS", ""))
    except ValueError as err:
        raise BuildError(f"PIP_ARGS={os.environ['PIP_ARGS']}: {err}; close the quote") from err


def slides(course: Course, only: str | None, out: Path, draft: bool) -> None:
    """Write the decks of all notebooks (or one) and what they need to the folder `out`."""
    failed, paths = [], course.source_paths(only)
    make_folder(out)
    fetch_assets(out / "assets", pip_args())
    for path in paths:
        try:
            counts = write_deck(course, path.stem, out, draft, say)
        except BuildError as err:
            failed.append(path.stem)
            say(err)
            continue
        for stem, count in counts.items():
            say(f"{out / stem}.html: {count} slides")
    if failed:
        raise BuildError(f"no deck for {', '.join(failed)}")


def report(course: Course, chosen) -> None:
    """Judge a folder of submissions, each in a box of its own; write the page and the table to `out`."""
    folder, out = Path(chosen.submissions), chosen.out or course.root / "out" / "report"
    if not chosen.submissions or not folder.is_dir():
        what = f"{folder} is no folder" if chosen.submissions else "FROM is empty"
        raise BuildError(f"{what}: name a folder that holds a notebook, or a folder, for each student")
    os.environ.pop("MPLBACKEND", None)
    sys.path.insert(0, str(course.complete / "teaching"))
    from class_report import page  # it brings torch, which most commands do without
    from class_report.box import Unboxed
    from class_report.run import DEFAULT_SEED, judge_all

    seed = DEFAULT_SEED if chosen.seed is None else chosen.seed
    only = course.source_paths(chosen.only)[0].name[:2] if chosen.only is not None else None
    make_folder(out)
    try:
        results = judge_all(course, folder, out, seed, chosen.trust, only, say)
    except Unboxed as err:
        raise BuildError(f"{err}") from err
    if not results:
        raise BuildError(f"there is no notebook and no mine.py in {folder}")
    notes = {"seed": seed, "trust": chosen.trust, "from": str(folder)}
    for path in page.write_report(course, results, out, notes):
        say(path)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = ("editions", "mistakes", "execute", "check", "numbers", "slides", "site", "open", "links", "run",
             "start", "report", "new")  # fmt: skip
    made = {name: commands.add_parser(name) for name in names}
    for name in ("editions", "mistakes", "execute", "check", "slides", "run", "report"):
        made[name].add_argument("--only", metavar="NN", help="this notebook alone")
    for name in ("editions", "execute", "slides"):
        made[name].add_argument("--draft", action="store_true", help="say which rules are broken, but go on")
    made["editions"].add_argument(
        "--grading",
        action="store_true",
        help="instead write student notebooks without solutions to out/grading",
    )
    made["execute"].add_argument("--stale", action="store_true", help="leave alone what is fresh")
    made["links"].add_argument("--repository", metavar="OWNER/NAME", help="default: as it is")
    made["links"].add_argument("--version", metavar="TAG", help="a tag or branch, default: as it is")
    made["run"].add_argument("--out", type=Path, help="the folder to fill, default out/")
    made["run"].add_argument("--mode", choices=MODES)
    made["open"].add_argument("--port", type=int, default=8000, help="default 8000, or a free one after it")
    made["start"].add_argument("--into", type=Path, help="the folder to fill, default my-work/")
    made["report"].add_argument("--from", dest="submissions", metavar="FOLDER", required=True)
    made["report"].add_argument("--seed", type=int, help="of the hidden numbers; 0: those of `check`")
    made["report"].add_argument("--trust", action="store_true", help="without a box, with plain limits")
    made["report"].add_argument("--out", type=Path, help="the folder to fill, default out/report")
    made["new"].add_argument("number", metavar="NN", help="two digits")
    made["new"].add_argument("title", metavar="TITLE", help="without the number")
    chosen = parser.parse_args(arguments)
    course = Course(chosen.root.resolve())
    try:
        return 0 if obey(course, chosen) is not False else 1
    except KeyboardInterrupt:
        say("\nstopped; what was finished before is saved", file=sys.stderr)
        return 130
    except BuildError as err:
        say(f"\n{err}", file=sys.stderr)
    except OSError as err:
        named = f"{err.filename}: {err.strerror}; put that right and run it again" if err.filename else err
        say(f"\n{named}", file=sys.stderr)
    return 1


def obey(course: Course, chosen) -> bool | None:
    """Do what the command line asks for; False: the check found something to put right."""
    out, command = course.root / "out", chosen.command
    changed, nothing = None, "nothing changed"
    if command == "editions" and chosen.grading:
        write_grading_editions(course, out / "grading", chosen.only, say)
    elif command == "editions":
        changed = write_editions(course, chosen.only, chosen.draft, say)
        changed += write_mistakes(course, chosen.only)
    elif command == "mistakes":
        changed = write_mistakes(course, chosen.only, always=True, say=say)
    elif command == "execute":
        write_mistakes(course, chosen.only)
        execute(course, chosen.only, chosen.stale, chosen.draft)
    elif command == "check":
        return check(course, chosen.only)
    elif command == "numbers":
        changed = [*refill(course), *write_quizzes(course), *refill_tables(course)]
        nothing = "every number and table is up to date"
    elif command == "links":
        changed = write_links(course, chosen.repository, chosen.version)
        changed += write_editions(course, None, False, say)
    elif command == "slides":
        slides(course, chosen.only, out / "slides", chosen.draft)
    elif command == "site":
        site(course, out, more=pip_args())
    elif command == "open":
        if not (out / "site" / "index.html").exists():
            site(course, out, more=pip_args())
        serve(out / "site", chosen.port, say)
    elif command == "run":
        mode = chosen.mode or os.environ.get("NOISE_TO_DIGITS_MODE", "read")
        if mode not in MODES:
            raise BuildError(f"NOISE_TO_DIGITS_MODE is {mode!r}: set it to {', '.join(MODES)}, or unset it")
        folder = chosen.out or Path(os.environ.get("NOISE_TO_DIGITS_OUT", out))
        run(course, chosen.only, folder, mode)
    elif command == "report":
        report(course, chosen)
    elif command == "new":
        write_skeleton(course, chosen.number, chosen.title, say)
    else:
        start(course, chosen.into or course.root / "my-work", say)
    if changed is not None:
        say("\n".join(f"wrote {name}" for name in dict.fromkeys(changed)) or nothing)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal that has no ● shows \u25cf
    sys.exit(main())
