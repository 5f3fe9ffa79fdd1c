"""All submissions of a folder, in two worker processes; results are kept, so that an interrupted run goes on.

A result is a table: student (a name that nobody checked), file, notebooks ["02"], problem (None, or why the
file was not judged), seconds, tasks {id: row}. A row: kind (write, predict, break, hunt), state, mistake (its
short name), message, answer (a prediction, a letter, a line), seed (of a hunt), code (an excerpt); of a
prediction fits. States: right, mistake (a known one), wrong, crashed, not attempted, missing, reference (it
hands in the course's own solution), contained (the box stopped it); of a prediction written; of a hunt found,
not found.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path

from helpers import files

from .box import REFUSAL, Unboxed, why_no_box
from .extract import Unreadable, clean, list_submissions, read_bytes

WORKERS, SECONDS = 2, 900.0  # at most so many at once; seconds after which a submission is given up
DEFAULT_SEED = 1
ENGINE = ("box", "extract", "facts", "inside", "judge", "needs", "run", "seccomp", "wire")
TRUSTED = (
    "Without a box: submissions run as you, with limits on time, memory and file size. Not contained: files "
    "that you may read or write, the network, and processes that they leave."
)


def judge_all(course, folder, out, seed=DEFAULT_SEED, trust=False, only=None, say=print) -> list[dict]:
    """The results of all submissions in `folder`, in the order of their names; kept in out/results.

    seed: of the hidden numbers; 0 takes those of the students' own `check`. only: a notebook, as "02".
    Raises Unboxed where there is no bubblewrap and the submissions are not trusted. Nothing is written to
    `folder`.
    """
    seed = int(seed) % 2**31
    if not trust and (reason := why_no_box()):
        raise Unboxed(REFUSAL.format(reason))
    if trust:
        say(TRUSTED)
    folder, kept = Path(folder), Path(out) / "results"
    found, engine = list_submissions(folder), engine_hash(course)
    jobs, results = [], {}
    for number, (student, path) in enumerate(found):
        file = clean(os.path.relpath(path, folder), 1000)
        try:
            content = read_bytes(path)
        except Unreadable as why:
            results[number] = problem(student, file, f"{why}")
            continue
        key = f"{student}\0{file}\0{engine}\0{seed}\0{trust}\0{only}\0".encode() + content
        place = kept / f"{hashlib.sha256(key).hexdigest()[:32]}.json"
        if (known := read_kept(place)) is not None:
            results[number] = known
        else:
            jobs.append((number, place, (student, file, str(path))))
    say(
        f"{len(found)} submissions, {len(found) - len(jobs)} known from before; hidden numbers of seed {seed}"
    )
    done = len(found) - len(jobs)
    for number, place, result in run_workers(course, jobs, (seed, trust, only)):
        results[number], done = result, done + 1
        if not result.pop("passing", False) and not is_contained(result):
            files.write_bytes(place, json.dumps(result).encode())
        say(f"[{done}/{len(found)}] {result['student']}: {describe(result)}")
    return [results[number] for number in sorted(results)]


def describe(result: dict) -> str:
    """A result in a line."""
    if result["problem"]:
        return f"not judged. {result['problem']}"
    states = [row["state"] for row in result["tasks"].values()]
    counts = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
    return f"{', '.join(result['notebooks'])}: {', '.join(counts)} ({result['seconds']:.0f} s)"


def problem(student, file, why, passing=False) -> dict:
    """passing: it may go well another time, so it is not kept."""
    made = dict(student=student, file=file, notebooks=[], problem=why, seconds=0.0, tasks={})
    return made | (dict(passing=True) if passing else {})


def is_contained(result) -> bool:
    """Whether the box stopped a task: its neighbour on the machine may have had a part in that."""
    return any(row["state"] == "contained" for row in result["tasks"].values())


def read_kept(path: Path) -> dict | None:
    """A result that was kept whole, else None."""
    try:
        result = json.loads(path.read_bytes())
        return result if isinstance(result, dict) and isinstance(result.get("tasks"), dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def engine_hash(course) -> str:
    """Of all that a verdict follows from: the engine, the pages, the complete editions, this package."""
    here = Path(__file__).parent
    paths = [*course.helpers.rglob("*.py"), *course.helpers.glob("exercises/*.json")]
    paths += [*course.complete.glob("*.ipynb"), *(here / f"{name}.py" for name in ENGINE)]
    digest = hashlib.sha256()
    for path in sorted(p for p in paths if p.is_file()):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


# Workers ------------------------------------------------------------------------------------------


class Worker:
    """A process that judges one submission after the other; made again where one brings it down."""

    def __init__(self, course, options):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, str(course.root), options), daemon=True)
        self.process.start()
        other.close()
        self.job, self.end = None, None

    def give(self, job):
        self.job, self.end = job, time.monotonic() + SECONDS
        self.pipe.send(job[2])

    def stop(self):
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def run_workers(course, jobs, options):
    """(number, place, result) of each job, as they come."""
    waiting, workers, begun = list(jobs), [], False
    try:
        for _ in range(min(WORKERS, os.cpu_count() or 1, len(jobs))):
            workers.append(Worker(course, options))
        while waiting or any(w.job for w in workers):
            for worker in workers:
                if worker.job is None and waiting:
                    worker.give(waiting.pop(0))
            busy = [w for w in workers if w.job]
            ready = wait([w.pipe for w in busy], timeout=1.0)
            for worker in busy:
                why = None
                if worker.pipe in ready:
                    try:
                        told = worker.pipe.recv()
                    except (EOFError, OSError):
                        why = "The process that judged it came to an end."
                    else:
                        if "unboxed" not in told:
                            begun, worker.job, job = True, None, worker.job
                            yield *job[:2], told
                        elif not begun:
                            raise Unboxed(told["unboxed"])
                        else:
                            why = told["unboxed"]
                elif time.monotonic() > worker.end:
                    why = f"It was not judged within {SECONDS:.0f} s."
                if why:
                    number, place, (student, file, _) = worker.job
                    worker.stop()
                    workers[workers.index(worker)] = Worker(course, options)
                    yield number, place, problem(student, file, why, passing=True)
    finally:
        for worker in workers:
            worker.stop()


def serve(pipe, root, options):
    """What a worker does; an interrupt is the business of the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # its box is closed on the way out
    os.environ["NOISE_TO_DIGITS_MINE"] = ""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import torch

    from builder.course import Course

    from .judge import judge_file

    torch.set_num_threads(1)
    course = Course(Path(root))
    while True:
        try:
            student, file, path = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            seed, trust, only = options
            result = judge_file(course, student, file, read_bytes(Path(path)), seed, trust, only)
            json.dumps(result)
        except Unboxed as why:
            result = {"unboxed": f"{why}"}
        except Exception as error:
            said = f"It could not be judged ({type(error).__name__}: {clean(str(error), 300)})."
            result = problem(student, file, said, passing=True)
        pipe.send(result)
