"""The network: nothing that builds, checks or runs uses it, with or without a proxy; what fetches says so."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import build
import lab_page
import toy_course
from builder import assets, editions, links, slides
from builder.course import BuildError, notebook_text, read_notebook
from test_slides import lecture
from toy_course import NAME
from tries.commands import assert_sentence, every_file, run_apart, run_here

DEAD = "http://127.0.0.1:9"  # the port on which nobody answers
PROXIES = {f"{kind}_proxy".upper(): DEAD for kind in ("http", "https", "all", "ftp")} | {"http_proxy": DEAD}
COMMANDS = [
    "editions",
    "editions --grading",
    "check",
    "numbers",
    "links --version=v2",
    "start",
    "new 09 Paths",
    "slides",
]


def fill_assets(folder):
    """Put files in the places of reveal.js and MathJax, as an earlier run did."""
    for files in assets.ASSETS.values():
        for place in files.values():
            path = folder / place
            (path / "x" if place.endswith("/") else path).parent.mkdir(parents=True, exist_ok=True)
            if not place.endswith("/"):
                path.write_text("x")


@pytest.fixture
def course(tmp_path):
    """A made-up lecture that counts as executed; what slides need is there."""
    course = toy_course.make(tmp_path / "course", lecture())
    editions.write_editions(course)
    notebook = read_notebook(course.complete_path(NAME))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    course.complete_path(NAME).write_text(notebook_text(notebook))
    fill_assets(course.root / "out" / "slides" / "assets")
    fill_assets(course.root / "out" / "assets")
    return course


# In this process ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("proxies", [{}, PROXIES], ids=["no proxy", "a dead proxy"])
def test_a_command_opens_no_socket_and_starts_no_process(capsys, monkeypatch, course, command, proxies):
    def refuse(*_, **__):
        raise AssertionError("the network, or another process, was used")

    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    code, said = run_here(capsys, course, *command.split())
    assert code == (1 if command == "check" else 0), said  # its inputs were never recorded


TARGETS = {
    "a connection": lambda: socket.socket().connect(("192.0.2.1", 80)),
    "a connection by its code": lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
    "a connection of IPv6": lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    "a helper of the library": lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    "a datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    "a look-up": lambda: socket.getaddrinfo("example.org", 80),
    "a look-up by keyword": lambda: socket.getaddrinfo(host="example.org", port=80),
    "a look-up of bytes": lambda: socket.getaddrinfo(b"example.org", 80),
    "an older look-up": lambda: socket.gethostbyname("example.org"),
    "its longer form": lambda: socket.gethostbyname_ex("example.org"),
    "an address on the web": lambda: urllib.request.build_opener().open("http://192.0.2.1/", timeout=1),
}


@pytest.mark.parametrize("reach_out", TARGETS.values(), ids=TARGETS)
def test_a_test_that_leaves_this_machine_fails(monkeypatch, reach_out):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with pytest.raises(RuntimeError, match="a test tried to"):
        reach_out()


def test_a_test_may_talk_to_its_own_machine():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        assert socket.getaddrinfo("localhost", 80)


# What pip fetches -----------------------------------------------------------------------------------


def pip_that(text):
    """A Python whose pip writes this to stderr and fails."""
    return f"#!{sys.executable}\nimport os\nos.write(2, {text!r})\nraise SystemExit(1)\n"


WORDS = {
    "no network": b"WARNING: Retrying (Retry(total=0))\nERROR: No matching distribution found",
    "no pip": b"No module named pip",
    "nothing": b"",
    "bytes that are no text": b"\xff\xfe\x00",
    "a megabyte": b"x" * 1_000_000,
}


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Give this Python another pip."""

    def give(text):
        path = tmp_path / "python"
        path.write_text(pip_that(text))
        path.chmod(0o755)
        monkeypatch.setattr(assets, "sys", SimpleNamespace(executable=str(path)))

    return give


@pytest.mark.skipif(os.name != "posix", reason="a script for a Python")
@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_slides_without_what_they_need_say_what_and_where(capsys, course, pip, text):
    (course.root / "out/slides/assets/dist/reveal.js").unlink()
    pip(text)
    before = every_file(course.root)
    code, said = run_here(capsys, course, "slides")
    assert code == 1 and every_file(course.root) == before and "Traceback" not in said
    assert said.startswith("\npip could not download sphinx-revealjs") and "no network is needed" in said
    assert len(said) < 1200


@pytest.mark.skipif(os.name != "posix", reason="a script for a Python")
@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_pages_without_mathjax_say_so_and_are_written(capsys, monkeypatch, course, pip, text):
    (course.root / "out/assets/mathjax/tex-svg.js").unlink()
    pip(text)
    monkeypatch.setattr(build, "run_notebook", lambda *_: ({"all": 1}, []))
    code, said = run_here(capsys, course, "run")
    assert code == 0 and "the pages will take it from the web" in said
    page = (course.root / "out" / "site" / f"{NAME}.html").read_text(encoding="utf-8")
    assert re.search(r'<script[^>]*src="https://[^"]*mathjax', page)


def test_a_deck_with_all_it_needs_asks_nobody(tmp_path, course):
    slides.write_deck(course, NAME, tmp_path)
    text = (tmp_path / f"{NAME}.html").read_text(encoding="utf-8")
    asked = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]*)"|<link[^>]*\shref="([^"]*)"', text)
    assert all(one.startswith(("assets/", "data:")) for pair in asked for one in pair if one), asked


def test_the_first_cell_asks_the_network_only_on_colab():
    code = links.Links("ada/toy", "v1", "1").bootstrap()
    before, _, after = code.partition("git clone --quiet")
    assert "urllib" not in code and "socket" not in code and "pip" not in code
    assert '"google.colab" not in sys.modules' in before and "check=True" in after


# In a process of its own ----------------------------------------------------------------------------

GUARD = """\
import socket

def refuse(real):
    def connect(self, address):
        if isinstance(address, tuple) and not address[0].startswith(("127.", "::1", "localhost")):
            open({log!r}, "a").write(repr(address))
            raise OSError("no network")
        return real(self, address)
    return connect

def look_up(host, *rest, real=socket.getaddrinfo, **more):
    if host not in (None, "", "localhost") and not str(host).startswith("127."):
        open({log!r}, "a").write(repr(host))
        raise OSError("no network")
    return real(host, *rest, **more)

socket.socket.connect = refuse(socket.socket.connect)
socket.getaddrinfo = look_up
"""


@pytest.mark.long
@pytest.mark.parametrize("command", ["execute", "run"])
@pytest.mark.parametrize("proxies", [{}, PROXIES], ids=["no proxy", "a dead proxy"])
def test_a_kernel_reaches_nobody(course, tmp_path, command, proxies):
    (tmp_path / "guard").mkdir()
    log = tmp_path / "asked"
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    ran = run_apart(course, command, PYTHONPATH=str(tmp_path / "guard"), **proxies)
    assert ran.returncode == 0, ran.stderr
    assert not log.exists(), log.read_text()


def test_the_guard_of_the_processes_can_fail(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(log=str(tmp_path / "asked")))
    code = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)},
                         capture_output=True, text=True)  # fmt: skip
    assert "no network" in ran.stderr and "192.0.2.1" in (tmp_path / "asked").read_text()


# The browser tests' own server ----------------------------------------------------------------------


def test_the_token_of_the_browser_tests_is_drawn_anew_each_time():
    tokens = {lab_page.TOKEN}
    code = "import sys; sys.path.insert(0, sys.argv[1]); import lab_page; print(lab_page.TOKEN)"
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", code, os.path.dirname(lab_page.__file__)],
                             capture_output=True, text=True, check=True)  # fmt: skip
        tokens.add(ran.stdout.strip())
    assert len(tokens) == 3 and all(len(token) >= 20 for token in tokens)


@pytest.mark.long
def test_the_server_of_the_browser_tests_lets_nobody_in_without_its_token(monkeypatch, tmp_path):
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    (tmp_path / "served").mkdir()
    with lab_page.server(tmp_path / "served", tmp_path / "log") as address:
        for token in ("", "t", lab_page.TOKEN[:-1]):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                direct.open(f"{address}/api/contents?token={token}", timeout=20)
        found = json.load(direct.open(f"{address}/api/contents?token={lab_page.TOKEN}", timeout=20))
        assert found["content"] == []
        for words in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                assert lab_page.TOKEN.encode() not in words.read_bytes()
    assert lab_page.TOKEN not in (tmp_path / "log").read_text()


def test_a_wheel_with_the_wrong_name_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        assets.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stderr="")
    )
    with pytest.raises(BuildError) as refused:
        assets.fetch_assets(tmp_path)
    assert_sentence(str(refused.value), "sphinx_revealjs")
