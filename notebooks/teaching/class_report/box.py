"""A box for a student's code: bubblewrap, without network, with limits; what comes out of it is data.

Inside, there is Python with its packages, the system's libraries, helpers/ (without the solutions) and data/
of the course, all read-only, and a small /tmp in memory. There is no home, no network, no other process. The
box is watched from outside: time, memory, number of processes, size of the answers.

`--trust` runs the same without bubblewrap: with limits on time, memory and the size of files, in a copy of
the course's helpers. Then the code can read and write whatever its user may, use the network, and leave
processes.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import psutil

from . import seccomp, wire

HERE = Path(__file__).resolve().parent
MEMORY, PROCESSES = 3 * 2**30, 200  # of all processes in a box together
SAID = 4000  # bytes of standard error that are kept
START, GRACE = 300.0, 30.0  # seconds: to import the course; for a task, beside its own limit
SPARE = 300 * 2**20  # bytes of memory that the machine keeps
REFUSAL = (
    "Submissions are judged inside bubblewrap, and {}. Install it (Debian, Ubuntu: apt install bubblewrap), "
    "or say --trust (make report TRUST=1) for submissions that you trust: then they run as you, limited in "
    "time, memory and file size only. They could read and delete your files and use the network."
)


class Unboxed(Exception):
    """There is no box here; the sentence says why, and what to do."""


class Contained(Exception):
    """The box stopped what ran in it; the sentence says why."""


@cache
def why_no_box() -> str:
    """Why submissions cannot be put in a box on this machine; "" where they can."""
    if not (bwrap := shutil.which("bwrap")):
        return "`bwrap` is not installed"
    command = [bwrap, *namespaces(), "--ro-bind", "/", "/", "--", sys.executable, "-I", "-c", "pass"]
    try:
        ran = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"`bwrap` does not start ({error})"
    if ran.returncode:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"`bwrap` is refused here ({said[-1][:200] if said else f'exit status {ran.returncode}'})"
    return ""


@cache
def _knows(option: str) -> bool:
    told = subprocess.run(["bwrap", "--help"], capture_output=True, stdin=subprocess.DEVNULL)
    return option.encode() in told.stdout + told.stderr


def namespaces() -> list[str]:
    own = ["--unshare-user", "--unshare-all", "--uid", "65534", "--gid", "65534", "--hostname", "box"]
    own += ["--disable-userns"] if _knows("--disable-userns") else []
    return [*own, "--cap-drop", "ALL", "--die-with-parent", "--new-session"]


def arguments(course: Path, empty: Path) -> list[str]:
    """bwrap with all that is to be seen inside; empty: a file `{}` that stands for the solutions."""
    words = [shutil.which("bwrap") or "bwrap", *namespaces()]
    for place in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(place):
            words += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            words += ["--ro-bind", place, place]
    for file in ("/etc/ld.so.cache", "/etc/localtime"):
        words += ["--ro-bind-try", file, file]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", f"{64 * 2**20}", "--tmpfs", "/tmp"]
    words += ["--size", f"{16 * 2**20}", "--tmpfs", "/dev/shm", "--dir", "/.box"]
    for place in dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, sys.prefix, *library_folders()]):
        words += ["--ro-bind", place, place] if not _is_within(place, "/usr") else []
    for name in ("helpers", "data"):
        words += ["--ro-bind", f"{course / name}", f"/course/{name}"]
    words += ["--ro-bind", f"{empty}", "/course/helpers/exercises/mistakes.json"]
    for name in ("inside.py", "wire.py"):
        words += ["--ro-bind", f"{HERE / name}", f"/.box/{name}"]
    for font_list in font_lists():
        words += ["--ro-bind", f"{font_list}", f"/tmp/fonts/{font_list.name}"]
    for place in ("/dev", "/proc", "/"):
        words += ["--remount-ro", place]
    words += ["--clearenv", "--chdir", "/tmp"]
    for name, value in environment("/tmp").items():
        words += ["--setenv", name, value]
    return [*words, "--", sys.executable, "-s", "-B", "/.box/inside.py", "/course", "boxed"]


def _is_within(place, folder) -> bool:
    return os.path.realpath(place).startswith(f"{folder}{os.sep}") or os.path.realpath(place) == folder


def library_folders() -> list[str]:
    """Where Python finds its packages, beside its own folders."""
    own = [os.path.realpath(p) for p in (sys.base_prefix, sys.prefix)]
    named = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
    home = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    places = [p for p in [home, *named] if os.path.isdir(p)]
    return [p for p in places if not any(_is_within(p, folder) for folder in own)]


@cache
def font_lists() -> list[Path]:
    """Matplotlib's list of fonts, which takes seconds to make anew."""
    try:
        import matplotlib.font_manager  # noqa: F401  makes it

        return sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    except Exception:
        return []


def environment(home: str) -> dict[str, str]:
    return dict(
        PATH="/usr/bin:/bin",
        HOME=home,
        TMPDIR=home,
        LANG="C.UTF-8",
        MPLBACKEND="Agg",
        MPLCONFIGDIR=f"{home}/fonts",
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        PYTHONDONTWRITEBYTECODE="1",
        NOISE_TO_DIGITS_MINE="",
        NOISE_TO_DIGITS_MODE=os.environ.get("NOISE_TO_DIGITS_MODE", "read"),
        NOISE_TO_DIGITS_OUT=f"{home}/out",
    )


class Box:
    """One box with the course in it, started when it is first asked. Close it, or use `with`."""

    def __init__(self, course: Path, set_up: dict, trust: bool = False):
        self.course, self.set_up, self.trust = Path(course), set_up, trust
        self.process, self.folder, self.said, self.ends = None, None, b"", ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, request: dict):
        """The answer to a request. Raises Contained; then the box is gone, and the next starts another."""
        try:
            if self.process is None:
                self._start()
            answer = self._exchange(request, request["seconds"] + GRACE)
        except wire.Refused:
            self.close()
            raise Contained(SENTENCES["form"]) from None
        except BaseException:
            self.close()
            raise
        if isinstance(answer, dict) and isinstance(ended := answer.get("ended"), str):
            raise Contained(SENTENCES.get(ended, SENTENCES["exit"]))
        return answer

    def _start(self):
        self.folder = tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True)
        place, more = Path(self.folder.name), {}
        empty = place / "empty.json"
        empty.write_text("{}")
        if self.trust:
            own = copy_course(self.course, place)
            command = [sys.executable, "-s", "-B", f"{HERE / 'inside.py'}", f"{own}", "trusted"]
            more = dict(cwd=place, env=environment(f"{place}"), start_new_session=True)
        elif reason := why_no_box():
            raise Unboxed(REFUSAL.format(reason))
        else:
            command = arguments(self.course, empty)
            more = dict(env={"PATH": "/usr/bin:/bin"})
        # requests and answers have pipes of their own: standard streams stay open in bwrap's first process
        (requests, into), (out, answers) = os.pipe(), os.pipe()
        self.ends, given = (into, out), [requests, answers]
        command = [*command, f"{requests}", f"{answers}"]
        if not self.trust and (program := seccomp.program()):
            read, write = os.pipe()
            os.write(write, program)
            os.close(write)
            given.append(read)
            command[1:1] = ["--seccomp", f"{read}"]
        streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
        try:
            self.process = subprocess.Popen(command, pass_fds=given, **streams, **more)
        finally:
            for file in given:
                os.close(file)
        for file in (*self.ends, self.process.stderr.fileno()):
            os.set_blocking(file, False)
        try:
            if self._exchange(self.set_up, START) != "ready":
                raise Contained("it did not start")
        except Contained as why:
            said = self.said.decode("utf-8", "replace").strip()
            raise Unboxed(f"The box does not start ({why}): {said[-1500:] or 'it says nothing'}") from why

    def _exchange(self, request, seconds):
        """Send a request and read one frame, while the box is watched."""
        text = json.dumps(request).encode()
        waiting, data, whole = memoryview(struct.pack("<I", len(text)) + text), bytearray(), None
        end, look = time.monotonic() + seconds, 0.0
        (requests, out), said = self.ends, self.process.stderr.fileno()
        listen = [out, said]
        while whole is None or len(data) < whole:
            into = [requests] if waiting else []
            readable, writable, _ = select.select(listen, into, [], 0.05)
            if writable:
                try:
                    waiting = waiting[os.write(into[0], waiting) :]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    raise Contained(SENTENCES["exit"]) from None
            if said in readable:
                part = os.read(said, 65536)
                self.said = (self.said + part)[-SAID:]
                if not part:
                    listen.remove(said)
            if out in readable:
                part = os.read(out, 1 << 20)
                if not part:
                    raise Contained(SENTENCES["exit"])
                data += part
                whole = wire.whole_length(data) if whole is None else whole
            now = time.monotonic()
            if now > end:
                raise Contained(SENTENCES["time"])
            if now > look:
                look = now + 0.15
                self._watch()
        return wire.read(bytes(data[:whole]))

    def _watch(self):
        family = list(self._family())
        if len(family) > PROCESSES:
            raise Contained(SENTENCES["processes"])
        memory = sum(map(_own_memory, family))
        if memory > MEMORY or psutil.virtual_memory().available < SPARE:
            raise Contained(SENTENCES["memory"])

    def _family(self) -> list[int]:
        """The box's process and all below it."""
        children = {}
        for pid, parent in parents().items():
            children.setdefault(parent, []).append(pid)
        found, waiting = [], [self.process.pid]
        while waiting:
            new = children.get(waiting.pop(), [])
            found += new
            waiting += new
        return [self.process.pid, *found]

    def close(self):
        """End all that runs in it, and remove its folder."""
        if self.process is not None:
            for pid in self._family() if self.trust else [self.process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self.process.wait()
            self.process.stderr.close()
            self.process = None
        for file in self.ends:
            os.close(file)
        self.ends = ()
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


SENTENCES = {
    "time": "The code did not come to an end in its time, and was stopped.",
    "memory": f"The code took more than {MEMORY // 2**30} GB of memory, and was stopped.",
    "processes": f"The code started more than {PROCESSES} processes, and was stopped.",
    "output": f"The code answers with more than {wire.MOST // 2**20} MB, which is not read.",
    "form": "What came out of the box has no form that the judge knows, so it was not counted.",
    "exit": "The code ended the process that runs it (`os._exit`, a crash of the interpreter, a kill).",
}


def parents() -> dict[int, int]:
    """{process: its parent} of this machine, from /proc."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
    return found


def _own_memory(pid: int) -> int:
    """Bytes of memory that a process has for itself, or shares with others by intent."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            rows = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
        return sum(1024 * int(rows.get(name, b"0").split()[0]) for name in (b"RssAnon", b"RssShmem"))
    except (OSError, ValueError, IndexError):
        return 0


def copy_course(course: Path, into: Path) -> Path:
    """The course as in a box, for `--trust`: a copy of helpers/ without the solutions; data/ as a link."""
    own = into / "course"
    shutil.copytree(course / "helpers", own / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (own / "helpers" / "exercises" / "mistakes.json").write_text("{}")
    (own / "data").symlink_to(course / "data", target_is_directory=True)
    return own
