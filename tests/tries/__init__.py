"""Tries: what an accident or a hostile hand does to the course, and that it holds.

A try is one test case: one accident or one malicious input, with an id that says which. It asserts on what
has to survive (bytes, answers, settings) and on what is said: one sentence that names the file and what to
do, never a bare traceback. Where something is not held and cannot be, a try shows what happens, and its
docstring says why.

One file is one area. Most are tables for `pytest.mark.parametrize`: a new try is a new row. All are
marked `long`: `make test` leaves them out, `make test-long` and CI run them.
Every case that pytest collects in this folder counts; test_count.py asks for at least 300 of them.
"""
