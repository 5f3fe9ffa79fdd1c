"""`make train`: every experiment whose products are missing or out of date, in order; or only those named.

An interrupted one goes on where it stopped. Two runners may work side by side, for instance each in its own
shell with OMP_NUM_THREADS=1: what one has begun is left to it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from data.experiments import records, runner
from data.experiments.table import TABLE
from helpers import checkpoints


def work_in(folder: Path) -> None:
    """Read and write checkpoints/, results/ and gallery/ in this folder; data sets stay where they are."""
    checkpoints.CHECKPOINTS, checkpoints.RESULTS = folder / "checkpoints", folder / "results"
    runner.forget_caches()


def main() -> None:
    """Run the experiments named on the command line, or all."""
    parser = argparse.ArgumentParser(prog=runner.COMMAND, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLE))
    parser.add_argument("--again", action="store_true", help="even where the products are there")
    trial = "a trial: few steps and samples, into FOLDER"
    parser.add_argument("--quick", metavar="FOLDER", type=Path, help=trial)
    listed = "hours on one core; what is there, missing, out of date; how it was made"
    parser.add_argument("--list", action="store_true", help=listed)
    parser.add_argument("--table", action="store_true", help="write the table of products in data/README.md")
    accepted = "a change since NAME was made does not alter its numbers: note that, and why, in its record"
    parser.add_argument("--accept", metavar="NAME", choices=list(TABLE), help=accepted)
    parser.add_argument("--because", metavar="REASON", default="", help="with --accept")
    parser.add_argument("--threads", type=int, help="of torch (otherwise its own choice, or OMP_NUM_THREADS)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TABLE):
        parser.error(f"unknown experiment {', '.join(sorted(unknown))}; known: {', '.join(TABLE)}")
    if options.quick:
        if os.path.exists(options.quick / "SHA256SUMS"):
            parser.error(f"{options.quick} holds a course's data: give --quick a folder of its own")
        work_in(Path(os.path.abspath(options.quick)))
    if options.threads is not None and options.threads < 1:
        parser.error("--threads is 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    names = [name for name in TABLE if name in options.names or not options.names]
    if options.list:
        states = {name: runner.find_state(TABLE[name], TABLE) for name in names}
        print("\n".join(runner.describe(TABLE[name], state) for name, state in states.items()))
        if left := [name for name, state in states.items() if state != "there"]:
            hours = sum(TABLE[name].hours for name in left)
            print(f"To be made: {', '.join(left)}; about {hours:.1f} h on one core.")
        return
    try:
        if options.accept:
            return runner.accept(options.accept, TABLE, options.because)
        if options.table:
            return records.write_table(runner.home() / "README.md", runner.home(), TABLE)
        runner.run_all(names, TABLE, options.again, quick=bool(options.quick))
    except (ValueError, ArithmeticError) as err:
        sys.exit(str(err))
    except OSError as err:
        where = f"cannot use {err.filename} ({err.strerror}): free some space, or work in another folder."
        sys.exit(f"{where if err.filename else err} What is done is kept: run the same command again.")
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command again to go on")


if __name__ == "__main__":
    main()
