"""Where the course lives: its repository and version, and every badge, link and first cell that names them.

They stand in pyproject.toml, [tool.noise-to-digits]; `make links REPO=owner/name VERSION=v1.0` writes them
there and everywhere else.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from .course import BuildError, Course, read_text, write_text

TABLE = "noise-to-digits"
BOOTSTRAP = "bootstrap"  # tag and id of the first code cell
# What GitHub takes for a name and git for a branch or tag: they become words for git, a folder, code.
OWNER, NAME = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}", r"(?!-|.*\.(?:git)?$)[A-Za-z0-9_.-]{1,100}"
TAG = r"(?![-.]|.*\.\.|.*\.(?:lock)?$|HEAD$|[0-9a-f]{40}$)[A-Za-z0-9_.-]{1,200}"
REPOSITORY, VERSION = r"[A-Za-z0-9][A-Za-z0-9-]*/[\w.-]*[\w-]", r"[\w.-]+"  # as they are found in the pages
# In the pages: (before the repository)(between it and the version, None: no version)
PLACES = [
    (r"https://colab\.research\.google\.com/github/", r"/blob/"),
    (r"https://mybinder\.org/v2/gh/", r"/"),
    (r"git clone [^\n]*?https://github\.com/", None),
    (r"repository-code: https://github\.com/", None),  # CITATION.cff
]
SITE = r"(\[the course on the web\]\()https://[\w-]+\.github\.io/[\w.-]+/"  # GitHub Pages


@dataclass(frozen=True)
class Links:
    """The addresses of one repository (owner/name) at one version (a branch or a tag), and its edition."""

    repository: str
    version: str
    edition: str

    def colab(self, path: str) -> str:
        return f"https://colab.research.google.com/github/{self.repository}/blob/{self.version}/{path}"

    def binder(self, path: str) -> str:
        return f"https://mybinder.org/v2/gh/{self.repository}/{self.version}?urlpath=lab/tree/{path}"

    def site(self) -> str:
        """Where GitHub Pages shows the site."""
        owner, name = self.repository.split("/")
        return f"https://{owner.lower()}.github.io/{name}/"

    def line(self, path: str) -> str:
        """What stands below the title of the notebook at `path`."""
        return f"[Open in Colab]({self.colab(path)}) · [Open in Binder]({self.binder(path)})"

    def bootstrap(self, student: bool = False) -> str:
        """The code of a notebook's first cell; the student edition's says where answers are kept."""
        address = f"https://github.com/{self.repository}"
        kept = 'os.environ.setdefault("NOISE_TO_DIGITS_MINE", str(root / "my-work"))\n' if student else ""
        return f'''\
# On Colab this fetches the course. Anywhere else it only looks whether notebook and course fit together.
import os, pathlib, subprocess, sys

address, version, edition = "{address}", "{self.version}", "{self.edition}"
here, mark = pathlib.Path.cwd(), "helpers/__init__.py"  # a stranger's helpers/ has no edition
ours = [p for p in (here, *here.parents) for file in p.glob(mark) if b"EDITION = " in file.read_bytes()]
root = ours[0] if ours else here / address.split("/")[-1]
if not ours and "google.colab" not in sys.modules:
    raise FileNotFoundError(f"open this notebook inside the course's folder: git clone {{address}}")
if not root.is_dir():
    subprocess.run(f"git clone --quiet --depth=1 --branch {{version}} {{address}}".split(), check=True)
os.chdir(here if ours else root)
sys.path.insert(0, str(root))
{kept}import helpers
if os.path.realpath(str(helpers.__file__)) != os.path.realpath(root / mark) or helpers.EDITION != edition:
    raise RuntimeError(f"this notebook is of edition {{edition}}, unlike {{helpers.__file__}}: restart the "
                       "kernel; `make start` adds one that fits; on Colab, reopen it from the README")'''


def read_links(course: Course) -> Links:
    """The course's repository, version, edition. Raises BuildError where pyproject.toml does not say them."""
    path = course.root / "pyproject.toml"
    try:
        return _parse_links(read_text(path))
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as err:
        raise BuildError(f"{path.name}: no repository, version, edition in [tool.{TABLE}] ({err})") from err


def _parse_links(text: str) -> Links:
    table = tomllib.loads(text)["tool"][TABLE]
    return check_links(Links(table["repository"], table["version"], table["edition"]))


def check_links(links: Links) -> Links:
    """`links`, if they name owner/name and a tag or branch; else raises BuildError."""
    repository, version = str(links.repository), str(links.version)
    if not re.fullmatch(f"{OWNER}/{NAME}", repository, re.IGNORECASE):
        raise BuildError(
            f"{repository[:60]!r} is no repository: write owner/name, make links REPO=ada/digits"
        )
    if not re.fullmatch(TAG, version):
        raise BuildError(f"{version[:60]!r} is not a version: a branch or tag of letters, digits and . _ -")
    if not re.fullmatch(r"[0-9]+", str(links.edition)):
        raise BuildError(f'{links.edition!r} is no edition: write a number, edition = "2"')
    return links


def pages(course: Course) -> list[Path]:
    """The files that name the repository: the markdown pages and CITATION.cff."""
    return [*course.markdown(), *course.root.glob("CITATION.cff")]


def repoint(text: str, links: Links) -> str:
    """`text` with every badge, link and clone command pointing to `links`."""
    for before, between in PLACES:
        if between is None:
            text = re.sub(f"({before}){REPOSITORY}", rf"\g<1>{links.repository}", text)
        else:
            new = rf"\g<1>{links.repository}\g<2>{links.version}"
            text = re.sub(f"({before}){REPOSITORY}({between}){VERSION}", new, text)
    return re.sub(SITE, rf"\g<1>{links.site()}", text)


def problems(course: Course) -> list[str]:
    """The pages that point elsewhere than pyproject.toml says."""
    links, said = read_links(course), []
    for path in pages(course):
        text = read_text(path)
        if text != repoint(text, links):
            name = path.relative_to(course.root).as_posix()
            said.append(f"{name} points elsewhere than to {links.repository} at {links.version}")
    return said


def write_links(course: Course, repository: str | None, version: str | None) -> list[str]:
    """Write repository and version (None: as they are) to pyproject.toml and the pages.

    Returns the names of the files that changed. The notebooks follow when the editions are built.
    Raises BuildError before anything is written when they are not valid.
    """
    old = read_links(course)
    links = replace(old, repository=repository or old.repository, version=version or old.version)
    check_links(links)
    path = course.root / "pyproject.toml"
    head, table, rest = read_text(path).partition(f"[tool.{TABLE}]")
    for key, value in (("repository", links.repository), ("version", links.version)):
        rest = re.sub(rf"(?m)^{key}\s*=.*$", f'{key} = "{value}"', rest, count=1)
    if _parse_links(head + table + rest) != links:
        raise BuildError(f"{path.name}: write repository and version in [tool.{TABLE}] by hand")
    changed = [path] if write_text(path, head + table + rest) else []
    for page in pages(course):
        if write_text(page, repoint(read_text(page), links)):
            changed.append(page)
    return [file.relative_to(course.root).as_posix() for file in changed]
