"""What comes from elsewhere: packages pinned, licences listed, what pages download known by its hash."""

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from itertools import product
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import browser
import toy_course
from builder import assets, site
from builder.course import BuildError
from builder.editions import write_editions

ROOT = Path(__file__).resolve().parents[1]
PINS, PAGE = ROOT / ".ci" / "constraints.txt", ROOT / ".github" / "LICENCES.md"
SOURCES = [ROOT / "requirements.txt", ROOT / ".ci" / "requirements-browser.txt"]
PYTHONS = ("3.11.0", "3.11.9", "3.12.1", "3.13.0")
SYSTEMS = {"linux": ("posix", "x86_64"), "darwin": ("posix", "arm64"), "win32": ("nt", "AMD64")}

# What must be pinned ----------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def requirements(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in lines(path.read_text(encoding="utf-8"))]


def environment(system: str, python: str) -> dict:
    """What markers see there."""
    os_name, machine = SYSTEMS[system]
    return default_environment() | dict(
        sys_platform=system, os_name=os_name, platform_machine=machine, python_full_version=python,
        python_version=python.rpartition(".")[0], implementation_name="cpython",
    )  # fmt: skip


def pinned(text: str, where: dict) -> dict[str, set[str]]:
    """Package -> the versions that a constraints file allows in an environment."""
    found = {}
    for pin in map(Requirement, lines(text)):
        if pin.marker is None or pin.marker.evaluate(where):
            found.setdefault(canonicalize_name(pin.name), set()).add(str(pin.specifier))
    return found


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """All that `wanted` brings in this environment: package -> installed version, without +cpu."""
    found, seen, todo = {}, set(), list(wanted)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # not this environment's: the browser's requirements
        found[name] = Version(installed.version).public
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            inner = map(Requirement, installed.requires or [])
            todo += [each for each in inner if not each.marker or each.marker.evaluate({"extra": extra})]
    return found


def differences(installed: dict[str, str], pins: dict[str, set[str]]) -> list[str]:
    """The packages that are not pinned, or not to the version that is installed."""
    return [
        f"{name} {version}: {', '.join(pins.get(name, ['not pinned']))}"
        for name, version in sorted(installed.items())
        if pins.get(name) != {f"=={version}"}
    ]


TEXT = PINS.read_text(encoding="utf-8")
HERE = closure([each for path in SOURCES for each in requirements(path)])


def test_all_that_is_required_is_pinned():
    assert len(HERE) > 100
    assert set(HERE) <= set(pinned(TEXT, default_environment()))


def test_what_make_installed_has_the_pinned_versions():
    wrong = differences(HERE, pinned(TEXT, default_environment()))
    # make marks its environment; another one may hold what its owner likes
    if wrong and not Path(sys.prefix, ".installed").exists() and "CI" not in os.environ:
        pytest.skip(f"not made by make, and different: {'; '.join(wrong)}")
    assert not wrong


@pytest.mark.parametrize(
    "text, said",
    [
        ("a==1.0\nb==2.0\n", []),
        ("a==1.0\n", ["b 2.0: not pinned"]),
        ("a==1.1\nb==2.0\n", ["a 1.0: ==1.1"]),
        ("a>=1.0\nb==2.0\n", ["a 1.0: >=1.0"]),
        ("a==1.0\nb==2.0 ; python_version < '3'\n", ["b 2.0: not pinned"]),
        ("A==1.0\n# b==3.0\nb==2.0 ; python_version > '3'\n", []),
    ],
    ids=["all", "one missing", "another version", "no pin", "for another Python", "a comment and a capital"],
)
def test_a_wrong_pin_is_found(text, said):
    assert differences({"a": "1.0", "b": "2.0"}, pinned(text, default_environment())) == said


def test_the_closure_follows_extras_and_leaves_other_systems_out(monkeypatch):
    class Made:
        def __init__(self, version, *requires):
            self.version, self.requires = version, list(requires)

    there = {
        "top": Made("1.0", "middle[fast]>=2", "never; sys_platform == 'nowhere'"),
        "middle": Made("2.0+cpu", "base", "quick; extra == 'fast'", "slow; extra == 'slow'"),
        "base": Made("3.0", "top"),
        "quick": Made("4.0"), "slow": Made("5.0"), "never": Made("6.0"),
    }  # fmt: skip
    monkeypatch.setattr(sys.modules[__name__], "distribution", there.__getitem__)
    assert closure([Requirement("Top==1.0")]) == {
        "top": "1.0",
        "middle": "2.0",
        "base": "3.0",
        "quick": "4.0",
    }


@pytest.mark.parametrize("python, system", list(product(PYTHONS, SYSTEMS)))
def test_each_package_has_one_version_there_and_that_of_requirements(python, system):
    pins = pinned(TEXT, environment(system, python))
    assert not {name: versions for name, versions in pins.items() if len(versions) > 1}
    for path in SOURCES:
        for wanted in requirements(path):
            assert pins[canonicalize_name(wanted.name)] == {str(wanted.specifier)}, f"{path.name}: {wanted}"


def test_constraints_hold_pins_and_nothing_else():
    """No index, no link, no hash (torch's builds differ by index), no local version, no line twice."""
    line = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w.<>=!'\" ()]+)?")
    assert [text for text in lines(TEXT) if not line.fullmatch(text)] == []
    assert len(set(lines(TEXT))) == len(lines(TEXT))
    assert "://" not in TEXT and "uv pip compile --universal" in TEXT.splitlines()[1]


# What make and CI install -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """The Makefile and what it installs, and a `.venv` whose Python writes its arguments to `said`."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".ci").mkdir()
    for name in ("requirements.txt", ".ci/requirements-browser.txt", ".ci/constraints.txt", ".ci/run"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\necho "$@" >> said\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    return tmp_path


def run(folder, *words):
    own = ("VENV", "PIP_ARGS", "ONLY", "CONSTRAINTS")
    kept = {k: v for k, v in os.environ.items() if k not in own and not k.startswith(("MAKE", "MFLAGS"))}
    (folder / "said").write_text("")
    words = [*words, f"PYTHON={sys.executable}"] if words[0] == "make" else words
    done = subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [text for text in (folder / "said").read_text().splitlines() if "pip install" in text]


def arguments(line: str) -> set[str]:
    """The options of a command, each with what follows it."""
    return set(re.findall(r"--?[a-z][^ ]*(?: [^- ][^ ]*)?", line))


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make here")


@needs_make
def test_make_installs_the_pins_and_again_when_they_change(folder):
    first = run(folder, "make", "setup", "PIP_ARGS=--no-index")
    assert len(first) == 1 and {"--no-index", "-c .ci/constraints.txt", "-r requirements.txt"} <= arguments(
        first[0]
    )
    assert run(folder, "make", "setup") == []
    later = (folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(folder / ".ci" / "constraints.txt", (later, later))
    assert len(run(folder, "make", "setup", "TORCH=cuda")) == 1
    (folder / "requirements.txt").write_text("torch==2.13.0\n")
    os.utime(folder / ".ci" / "constraints.txt", (later + 10, later + 10))
    cpu, rest = run(folder, "make", "setup", "TORCH=cpu")
    assert "--index-url https://download.pytorch.org/whl/cpu" in " ".join(arguments(cpu))
    assert "-r requirements.txt" in arguments(rest)


@needs_make
def test_ci_installs_the_browser_with_the_pins(folder, monkeypatch):
    bin_ = folder / "bin"
    bin_.mkdir()
    for name in ("chromium", "chromium-browser", "google-chrome"):  # so that nothing is installed for them
        (bin_ / name).write_text("#!/bin/bash\n")
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setenv("TORCH", "cuda")
    said = [arguments(text) for text in run(folder, "bash", ".ci/run")]
    assert len(said) == 2 and all("-c .ci/constraints.txt" in each for each in said)
    assert "-r requirements.txt" in said[0] and "-r .ci/requirements-browser.txt" in said[1]


def test_every_advice_to_install_names_the_pins():
    texts = [ROOT / "README.md", *(ROOT / ".github").rglob("*.md"), *(ROOT / ".github").rglob("*.yml")]
    for path in texts:
        for line in path.read_text(encoding="utf-8").splitlines():
            bare = re.search(r"pip install -r \S*requirements", line)
            assert not bare, f"{path.name} installs without -c .ci/constraints.txt: {line.strip()}"


# Licences ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def licences():
    """The script .ci/licences.py as a module."""
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_has_its_licence_on_the_page(licences):
    table = licences.read_table(PAGE.read_text(encoding="utf-8"))
    names = {Requirement(line).name for line in lines(TEXT)}
    assert set(table) == names, f"run python .ci/licences.py: {set(table) ^ names}"
    if not differences(HERE, pinned(TEXT, default_environment())):
        wrong = {name: licences.read_licence(name) for name in HERE}
        assert not {name: said for name, said in wrong.items() if said not in table[name]}


def test_the_page_names_what_is_shipped_and_downloaded_besides():
    text = PAGE.read_text(encoding="utf-8")
    for name in ("data/MNIST", "data/FashionMNIST", "data/checkpoints", "flower.jpg",
                 "8x8 digits", "reveal.js", "MathJax", "Source Sans Pro", "DejaVu"):  # fmt: skip
        assert name in text, name
    for wheel in re.findall(r"(?m)^([\w-]+)==([\w.]+)", assets.WHEELS.read_text(encoding="utf-8")):
        assert " ".join(wheel) in text, wheel


def test_the_script_keeps_what_it_cannot_see_and_names_what_it_does_not_know(licences, monkeypatch):
    def read(name):
        if name not in ("here", "twice"):
            raise PackageNotFoundError(name)
        return "MIT"

    monkeypatch.setattr(licences, "read_licence", read)
    old = "# Page\n\nProse | here.\n\n" + licences.HEAD + "| BSD | gone, here, twice, windows |\n"
    text, missing = licences.renew(old, ["here", "new", "twice", "twice", "windows"])
    assert text.startswith("# Page\n\nProse | here.\n\n") and missing == ["new"]
    assert licences.read_table(text) == {"here": {"MIT"}, "twice": {"MIT", "BSD"}, "windows": {"BSD"}}


@pytest.mark.parametrize(
    "fields, said",
    [
        ("License-Expression: MIT\nLicense: BSD", "MIT"),
        ("License: Apache 2.0\nClassifier: License :: OSI Approved :: BSD License", "Apache 2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("License: A whole text,\n        in lines\nClassifier: License :: OSI Approved :: X", "X"),
        ("Classifier: Topic :: Software", "not stated"),
    ],
    ids=["expression", "field", "unknown field", "full text", "nothing"],
)  # fmt: skip
def test_a_licence_is_read_from_the_metadata(licences, monkeypatch, tmp_path, fields, said):
    made = tmp_path / "made-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made\nVersion: 1.0\n{fields}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert licences.read_licence("made") == said


# What slides and pages download -----------------------------------------------------------------------


def make_wheels(folder: Path) -> str:
    """Two wheels with the names and files that slides need, other content; returns their pins with hashes."""
    folder.mkdir()
    listed = ""
    versions = re.findall(r"(?m)^([\w-]+)==([\w.]+)", assets.WHEELS.read_text(encoding="utf-8"))
    for name, version in versions:
        stem = f"{name.replace('-', '_')}-{version}"
        wheel = folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for member in assets.ASSETS[name.replace("-", "_")]:
                archive.writestr(member + ("font.woff" if member.endswith("/") else ""), "made up")
            archive.writestr(
                f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        listed += f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    return listed


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of made-up wheels, a file with their hashes, and a pip that looks only there."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    known = tmp_path / "wheels.txt"
    known.write_text(make_wheels(tmp_path / "wheels"))
    return known, ["--no-index", "--find-links", str(tmp_path / "wheels")]


def test_a_changed_wheel_is_refused(wheels, tmp_path):
    with pytest.raises(
        BuildError, match="its SHA-256 is not the one in .*wheels.txt.*nothing of it was used"
    ) as told:
        assets.fetch_assets(tmp_path / "assets", wheels[1])
    assert "\n" not in str(told.value) and not (tmp_path / "assets").exists()


def test_the_right_wheels_are_taken(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "WHEELS", wheels[0])
    assets.fetch_assets(tmp_path / "assets", wheels[1])
    for files in assets.ASSETS.values():
        for place in files.values():
            assert (tmp_path / "assets" / place).exists(), place


def test_one_wrong_wheel_of_two_and_nothing_is_taken(wheels, tmp_path, monkeypatch):
    known, pip_args = wheels
    monkeypatch.setattr(assets, "WHEELS", known)
    known.write_text(re.sub(r"[0-9a-f]{64}\n\Z", f"{'0' * 64}\n", known.read_text()))
    with pytest.raises(BuildError, match="nothing of it was used"):
        assets.fetch_assets(tmp_path / "assets", pip_args)
    assert not (tmp_path / "assets").exists()


def test_without_the_wheels_the_message_says_what_is_wanted(wheels, tmp_path):
    with pytest.raises(BuildError, match="could not download sphinx-revealjs and sphinx-mathjax-offline"):
        assets.fetch_assets(tmp_path / "assets", ["--no-index"])


def foreign_tags(text: str) -> list[str]:
    """The tags that make a page take code or style from elsewhere when it is opened."""
    tags = re.findall(r"<(?:script|link|iframe)\b[^>]*>", text)
    return [tag for tag in tags if re.search(r"""\b(?:src|href)\s*=\s*\\?["']?\s*(?:https?:)?//""", tag)]


def unguarded(text: str) -> list[str]:
    """Those of them without a hash, or with one that a browser would not look at."""
    hashed = (r'\bintegrity="sha(?:384|512)-[\w+/=]{64,}"', r'\bcrossorigin="anonymous"')
    return [tag for tag in foreign_tags(text) if not all(re.search(each, tag) for each in hashed)]


@pytest.fixture(scope="module")
def page_from_the_web(tmp_path_factory):
    """A page with a formula, of a site that was made where MathJax could not be fetched."""
    folder = tmp_path_factory.mktemp("page")
    course = toy_course.make(folder / "course")
    write_editions(course)
    site.write_site(course, folder / "out", pip_args=["--no-index"], say=lambda text: None)
    return folder / "out" / "site" / f"{toy_course.NAME}.html"


@pytest.mark.slow
def test_what_a_page_takes_from_the_web_has_its_hash(page_from_the_web):
    text = page_from_the_web.read_text(encoding="utf-8")
    assert len(foreign_tags(text)) == 1 and "mathjax" in foreign_tags(text)[0]
    assert unguarded(text) == []


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://a.b/c.js"></script>',
        "<script async src='//a.b/c.js'></script>",
        '<link rel="stylesheet" href="http://a.b/c.css" integrity="">',
        '<script src="https://a.b/c.js" integrity="sha384-' + "A" * 64 + '"></script>',
        r"<script src=\"https://a.b/c.js\"></script>",
        '<iframe src="https://a.b/"></iframe>',
    ],
    ids=["script", "no scheme", "empty hash", "no crossorigin", "in JSON", "frame"],
)
def test_a_tag_without_a_hash_is_found(tag):
    assert len(unguarded(f"<p>before</p>{tag}")) == 1


def test_nothing_in_the_repository_takes_code_from_the_web_unguarded():
    where = [(ROOT / "notebooks", "*.ipynb"), (ROOT / "notebooks", "*.j2"), (ROOT / "notebooks", "*.py"),
             (ROOT / "helpers", "*.py"), (ROOT / "notebooks", "*.md")]  # fmt: skip
    paths = [path for folder, pattern in where for path in folder.rglob(pattern)]
    assert len(paths) > 40
    wrong = {path.name: unguarded(path.read_text(encoding="utf-8")) for path in paths}
    assert not {name: tags for name, tags in wrong.items() if tags}


@pytest.fixture(scope="module")
def mathjax():
    """MathJax as the wheel has it; kept in out/, as test_slides keeps it."""
    folder = ROOT / "out" / "slides" / "assets"
    try:
        assets.fetch_assets(folder)
    except BuildError as err:
        pytest.skip(str(err))
    return (folder / "mathjax" / "tex-svg.js").read_bytes()


@pytest.mark.slow
def test_the_hash_is_that_of_the_file_in_the_wheel(mathjax, page_from_the_web):
    hashed = base64.b64encode(hashlib.sha384(mathjax).digest()).decode()
    assert f'integrity="sha384-{hashed}"' in foreign_tags(page_from_the_web.read_text(encoding="utf-8"))[0]


@browser.needs_browser
@pytest.mark.parametrize("changed", [b"", b"\nwindow.evil = true;"], ids=["as it is", "changed"])
def test_the_browser_runs_the_webs_mathjax_only_as_it_is(mathjax, page_from_the_web, tmp_path, changed):
    with browser.page(tmp_path) as page:
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"}
        page.route(
            re.compile("^https:"), lambda route: route.fulfill(body=mathjax + changed, headers=headers)
        )
        page.goto(page_from_the_web.resolve().as_uri())
        if changed:
            assert page.evaluate("[window.evil, document.querySelector('mjx-container')]") == [None, None]
            assert any("integrity" in error for error in page.errors), page.errors
        else:
            page.wait_for_function("() => document.querySelector('mjx-container svg')")
            assert not page.errors, page.errors
