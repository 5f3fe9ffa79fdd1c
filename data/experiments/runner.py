"""The one runner of all experiments, and their one way to go on after an interruption.

While an experiment runs, everything it makes lies in data/checkpoints/.resume/NAME-KEY. KEY is a hash of all
its settings, of its code and of the files it reads, so that old results never mix with others. The products
move to their places under data/ only when every job is done, every product can be read and every bound holds,
and with them goes a record of how they were made (records.py). What is missing is made, and what is out of
date by its record.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from PIL import Image

from data.experiments import products, records
from helpers import checkpoints
from helpers.files import read_json, write_json

COMMAND = "python -m data.experiments"
WAIT_SECONDS = 5  # between looks at whether another runner has finished
say = partial(print, flush=True)


class Experiment:
    """One row of the table. The docstring of a subclass is the line that --list shows.

    hours: on one core; makes: its products, files under data/; needs: names of experiments whose products it
    reads; settings: plain data, everything that its numbers depend on; quick: settings of a trial.
    """

    name, hours = "", 0.0
    makes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    settings: dict = {}
    quick: dict = {}

    def list_jobs(self, s: dict) -> dict:
        """{name: arguments of measure()} for these settings, one job for each setting and seed."""
        raise NotImplementedError

    def measure(self, work: Work, **arguments) -> dict | None:
        """Do one job and return its figures, JSON-able; networks are kept by work.save_model()."""
        raise NotImplementedError

    def assemble(self, work: Work, done: dict) -> None:
        """Make the other products, by work.save_results(); done: {name of the job: its figures}."""

    def bounds(self, found: dict):
        """Yield (does it hold, a sentence) of the finished results; not asked under --quick."""
        return ()


@dataclass
class Work:
    """What a job knows: its experiment, the settings, where products go, its resume file, whom to tell."""

    name: str
    settings: dict
    made: Path
    state: Path
    tell: Callable = lambda step, steps, loss: None

    def save_model(self, name: str, model, recipe: dict, log: dict) -> None:
        """Make the product checkpoints/name.safetensors."""
        checkpoints.save_model(self.made / "checkpoints" / f"{name}.safetensors", model, recipe, log)

    def save_results(self, results: dict, **images) -> None:
        """Make the product results/NAME.json (of the experiment), and of images, if any, NAME.safetensors."""
        if images:
            products.save_images(self.name, self.made / "results", **images)
        products.save_results(self.name, results, self.made / "results")


class Progress:
    """One line: experiment, jobs done, step, loss, time left; rewritten on a terminal, else one a minute."""

    def __init__(self, name: str, jobs: int, known: int):
        self.name, self.jobs, self.known, self.done = name, jobs, known, known
        self.start, self.said = time.perf_counter(), 0.0

    def tell(self, job: str, step: int = 0, steps: int = 1, loss: float | None = None) -> None:
        """Show where the experiment is, unless that was shown just now."""
        now, terminal = time.perf_counter(), sys.stderr.isatty()
        if now - self.said < (0.5 if terminal else 60) and 0 < step:
            return
        self.said = now
        share = (self.done - self.known + step / steps) / max(1, self.jobs - self.known)
        left = f", about {(now - self.start) * (1 - share) / share / 60:.0f} min left" if share > 0 else ""
        where = f", step {step:,} of {steps:,}, loss {loss:.4f}" if loss is not None else ""
        line = f"{self.name}: {self.done} of {self.jobs} done, now {job}{where}{left}"
        sys.stderr.write(f"\r{line:<100}" if terminal else f"{line}\n")
        sys.stderr.flush()


def home() -> Path:
    """The folder with checkpoints/, results/ and gallery/."""
    return Path(checkpoints.CHECKPOINTS).parent


def resume() -> Path:
    """The folder in which interrupted experiments wait."""
    return home() / "checkpoints" / ".resume"


@cache
def find_commit() -> tuple[str | None, bool | None]:
    """records.find_commit(), asked once by this process: its code is that of its beginning."""
    return records.find_commit()


def is_readable(path: Path) -> bool:
    """Is the product there, and whole?"""
    try:
        with redirect_stdout(io.StringIO()):  # whose training it is does not matter here
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".safetensors":
                _, about = checkpoints.read_checkpoint(path)
                return "config" in about or path.parent.name != "checkpoints"
            else:
                with Image.open(path) as picture:
                    for frame in range(picture.n_frames):
                        picture.seek(frame), picture.load()
    except Exception:  # a picture can be broken in every way
        return False
    return True


def missing_products(experiment: Experiment) -> list[str]:
    """The products that are not there or cannot be read."""
    return [product for product in experiment.makes if not is_readable(home() / product)]


def key_of(settings: dict, code: dict, reads: list[Path]) -> str:
    """A hash of all settings, of the code (records.hash_code) and of the files read."""
    content = json.dumps([settings, sorted(code.values())], sort_keys=True).encode()
    for path in reads:
        content += hashlib.sha256(path.read_bytes()).digest()
    return hashlib.sha256(content).hexdigest()[:12]


def read_done(path: Path) -> dict:
    """The jobs that an interrupted run has finished. A damaged file raises ValueError, saying what to do."""
    try:
        return read_json(path) if os.path.lexists(path) else {}
    except (ValueError, OSError) as err:
        why = str(err).partition(": ")[0]
        raise ValueError(f"{path} is damaged ({why}): remove it to do these jobs anew") from err


def run(experiment: Experiment, table: dict, quick: bool = False, code: dict | None = None) -> None:
    """Do the jobs that are not done, assemble the products, hold them to their bounds, put them in place.

    code: hashes of its code when this process began; without them those of now.
    Raises ValueError when a product cannot be read or a bound is not reached; what was in place stays.
    """
    settings = {**experiment.settings, **(experiment.quick if quick else {})}
    settings = records.make_plain(settings)  # the same whether read back or not
    code = records.hash_code(type(experiment)) if code is None else code
    reads = [home() / product for name in experiment.needs for product in table[name].makes]
    folder = resume() / f"{experiment.name}-{key_of(settings, code, reads)}"
    contents = records.hash_reads(experiment, home(), table)  # of now: somebody may make them anew meanwhile
    made, jobs, done = folder / "made", experiment.list_jobs(settings), read_done(folder / "done.json")
    for place in ("checkpoints", "results", "gallery"):
        (made / place).mkdir(parents=True, exist_ok=True)
    progress = Progress(experiment.name, len(jobs), sum(name in done for name in jobs))
    spent = records.Spent(folder / "spent.json", *find_commit())
    if progress.known:
        say(f"{experiment.name}: going on, {progress.known} of {len(jobs)} jobs are done")
    for number, name in enumerate(jobs):
        if name in done:
            continue
        progress.tell(name)
        work = Work(experiment.name, settings, made, folder / f"training_{number}.state")  # no other job's
        work.tell = lambda *where, name=name: (progress.tell(name, *where), spent.note(often=True))
        try:
            figures = experiment.measure(work, **jobs[name])
        except BaseException:  # what was spent until here was spent
            with suppress(OSError):
                spent.note()
            raise
        done[name] = json.loads(json.dumps(figures))  # as it is read back after an interruption
        write_json(folder / "done.json", done)
        spent.note()
        work.state.unlink(missing_ok=True)
        progress.done += 1
    experiment.assemble(Work(experiment.name, settings, made, folder), {name: done[name] for name in jobs})
    spent.note()
    if broken := [made / product for product in experiment.makes if not is_readable(made / product)]:
        raise ValueError(f"{broken[0]} cannot be read: remove {folder} to start {experiment.name} anew")
    if not quick:
        hold_to_bounds(experiment, made)
        records.write(experiment, made, spent, code, contents)
    os.replace(folder, resume() / f"{experiment.name}.ready")
    put_in_place(experiment)
    forget_caches()


def put_in_place(experiment: Experiment) -> None:
    """Move the finished products to their places, and their record last; also after an interruption."""
    ready = resume() / f"{experiment.name}.ready"
    for product in (*experiment.makes, records.place_of(experiment.name)):
        if (ready / "made" / product).exists():
            (home() / product).parent.mkdir(parents=True, exist_ok=True)
            os.replace(ready / "made" / product, home() / product)
    if ready.exists():
        shutil.rmtree(ready)


def hold_to_bounds(experiment: Experiment, made: Path) -> None:
    """Raises ValueError that names every bound not reached by the results in `made`, where it makes any."""
    path = made / "results" / f"{experiment.name}.json"
    results = read_json(path) if path.exists() else None
    if results and (missed := [sentence for holds, sentence in experiment.bounds(results) if not holds]):
        raise ValueError(
            f"{experiment.name} is measured, but not good enough: {'; '.join(missed)}. "
            f"What stands in {home()} is untouched, the new products are in {made}."
        )


def forget_caches() -> None:
    """Classifiers and features of real images may be new: read them again."""
    from data.experiments import measures
    from helpers import classifiers

    classifiers.load.cache_clear(), measures.real.cache_clear(), measures.real_features.cache_clear()


@contextmanager
def only_one(name: str):
    """True as long as no other process runs this experiment; without locks (Windows) nobody looks."""
    path = resume() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):  # no locks on this system or disk
            pass
        yield True


def run_all(names: list[str], table: dict, again: bool = False, quick: bool = False) -> None:
    """Run the named experiments, each after those it needs; skip what is up to date, unless `again`.

    A second runner may work beside this one: an experiment that the other has begun is left to it. One that
    was killed while its finished products were put in place is completed first.
    Raises ValueError for an experiment whose needed products nobody makes.
    """
    waiting, told = list(names), False
    codes = {name: records.hash_code(type(table[name])) for name in names}  # now, as files may change later
    commit, clean = find_commit()
    if clean is False and not quick:
        say(f"data/experiments or helpers differ from commit {commit[:7]}: what is made now is recorded so")
    for experiment in table.values():
        if (resume() / f"{experiment.name}.ready").exists():
            with only_one(experiment.name) as alone:
                if alone:
                    put_in_place(experiment)
    while waiting:
        for name in waiting:
            if is_ready(table[name], table, waiting):
                with only_one(name) as alone:
                    if alone:
                        run_one(table[name], table, again, quick, codes[name])
                        waiting.remove(name)
                        break
        else:
            if not told:
                say(f"waiting for another runner, to do {', '.join(waiting)}")
            told = True
            time.sleep(WAIT_SECONDS)


def is_ready(experiment: Experiment, table: dict, waiting: list[str]) -> bool:
    """Are the products that it needs there? Raises ValueError when they are not and nobody makes them."""
    for name in experiment.needs:
        if name in waiting:
            return False
        with only_one(name) as alone:
            if not alone:  # somebody makes them, perhaps anew
                return False
        if missing := missing_products(table[name]):
            raise ValueError(f"{experiment.name} reads {missing[0]}, which is not there: {COMMAND} {name}")
    return True


def run_one(experiment: Experiment, table: dict, again: bool, quick: bool, code: dict) -> None:
    """Run one experiment, unless its products are there and up to date; say what happens."""
    name, start, missing = experiment.name, time.perf_counter(), missing_products(experiment)
    changes = {} if missing or quick else records.find_changes(experiment, home(), table)
    if not missing and not changes and not again:
        return say(f"{name}: its products are there (--again makes them anew)")
    for product in missing:
        if (home() / product).exists():
            say(f"{name}: {product} is damaged and made anew")
    if changes:
        say(f"{name}: out of date ({records.say_changes(changes)})")
    say(f"{name}: starting" + ("" if quick else f", about {experiment.hours:.1f} h on one core"))
    run(experiment, table, quick, code)
    say(f"{name}: done in {(time.perf_counter() - start) / 60:.1f} min")


def accept(name: str, table: dict, because: str) -> None:
    """records.accept(), unless a runner works on this experiment. Raises ValueError, saying why not."""
    with only_one(name) as alone:
        if not alone:
            raise ValueError(f"{name} is being made just now: accept nothing before that is done")
        records.accept(table[name], home(), table, because)
    say(f"{name}: noted in data/{records.place_of(name)}")


def find_state(experiment: Experiment, table: dict) -> str:
    """One clause: there, missing (with the products), out of date (with what makes it so)."""
    if missing := missing_products(experiment):
        return "missing: " + ", ".join(missing)
    changes = records.find_changes(experiment, home(), table)
    return f"out of date: {records.say_changes(changes)}" if changes else "there"


def describe(experiment: Experiment, state: str) -> str:
    """Its lines in --list: what it is, find_state(), how its products were made."""
    lines = [f"{experiment.name:16} {experiment.hours:5.1f} h  {experiment.__doc__}", state]
    with suppress(ValueError):  # a damaged record is said by the state
        if record := records.read(experiment.name, home()):
            lines.append(f"made in {records.say_record(record)}")
            lines += [f"accepted: {note['because']}" for note in record["accepted"]]
            lines += [record["note"]] if "note" in record else []
    return f"\n{'':26}".join(lines)
