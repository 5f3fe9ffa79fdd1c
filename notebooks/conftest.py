"""nbmake runs notebooks by nbclient: what builder.execute mends in it serves here too.

The student edition that runs here writes nothing to a my-work/ that may be there. Where tests run side by
side, each process has a folder of its own for GIFs and points, since both editions of a notebook give these
the same names.
"""

import os

import builder.execute  # noqa: F401

os.environ["NOISE_TO_DIGITS_MINE"] = ""
out, worker = os.environ.get("NOISE_TO_DIGITS_OUT"), os.environ.get("PYTEST_XDIST_WORKER")
if out and worker:
    os.environ["NOISE_TO_DIGITS_OUT"] = os.path.join(out, worker)
