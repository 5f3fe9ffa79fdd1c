"""Write the last table of .github/LICENCES.md anew: what constraints.txt names, by the licence it states.

A package that is not installed here (it belongs to another system or Python) keeps its row; the script names
those without one. After a change of constraints.txt run `python .ci/licences.py` in an environment of each.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE, PINS = FOLDER.parent / ".github" / "LICENCES.md", FOLDER / "constraints.txt"
HEAD = "| licence, in the words of the package's metadata | packages |\n|---|---|\n"


def read_licence(package: str) -> str:
    """What an installed package says: its expression, else its field if short, else its classifiers."""
    stated = metadata(package)
    field = (stated.get("License") or "UNKNOWN").strip()
    classified = [c.split(" :: ")[-1] for c in stated.get_all("Classifier") or [] if c.startswith("License")]
    short = field if "\n" not in field and field != "UNKNOWN" else ", ".join(classified)
    return stated.get("License-Expression") or short or "not stated"


def read_table(text: str) -> dict[str, set[str]]:
    """Package -> its licences, from the page's last table."""
    found = {}
    for licence, packages in re.findall(r"(?m)^\| (.+) \| (.+) \|$", text.partition(HEAD)[2]):
        for package in packages.split(", "):
            found.setdefault(package, set()).add(licence)
    return found


def renew(text: str, packages: list[str]) -> tuple[str, list[str]]:
    """The page with its table made anew for `packages`, and those of which no licence is known."""
    known, rows, missing = read_table(text), {}, []
    for package in sorted(set(packages)):
        licences = known.get(package, set())
        try:
            # two versions, for different Pythons, may word it in two ways
            licences = {read_licence(package)} | (licences if packages.count(package) > 1 else set())
        except PackageNotFoundError:
            missing += [] if licences else [package]
        for licence in licences:
            rows.setdefault(licence, []).append(package)
    table = (f"| {licence} | {', '.join(rows[licence])} |\n" for licence in sorted(rows, key=str.lower))
    return text.partition(HEAD)[0] + HEAD + "".join(table), missing


if __name__ == "__main__":
    names = re.findall(r"(?m)^([\w.-]+)==", PINS.read_text(encoding="utf-8"))
    renewed, unknown = renew(PAGE.read_text(encoding="utf-8"), names)
    PAGE.write_text(renewed, encoding="utf-8", newline="\n")
    if unknown:
        sys.exit(
            f"No licence is known of {', '.join(unknown)}: run this where they are installed, or write them "
            f"into the last table of {PAGE.name}."
        )
