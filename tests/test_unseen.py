"""Answers of people who have not seen the list of mistakes: unseen/answers.json.

Those of 00 to 08 were kept before that list was written; those of 09 to 11 came after it, from people who
did not look at it. For each task five answers with one mistake, two with two, one that is right in an unusual
way. What `check` said of them was read and scored by others, in unseen/scores.json: "first" before any
message was mended, "score" now: named, spot (points at the very place), vague, misleading, or accepted;
"said" is the name that was scored. `python tests/test_unseen.py` prints what is to be read.
"""

import json
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from helpers.exercises import decide, exercises, mine, notebooks, patches, stubs

HERE = Path(__file__).parent / "unseen"
ANSWERS = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
SCORES = json.loads((HERE / "scores.json").read_text(encoding="utf-8"))
KINDS = {"single": 5, "pair": 2, "style": 1}


@cache
def tasks():
    return {e.id: e for nb in notebooks() for e in exercises(nb).values() if e.kind == "write"}


@pytest.fixture(autouse=True)
def all_pairs(monkeypatch):
    """On a busy machine a second may not be enough for all pairs of mistakes."""
    pairs = patches.pairs
    monkeypatch.setattr(patches, "pairs", lambda known: pairs(known, 60))


@cache
def verdict_on(number: int):
    """(verdict, seconds) on one of the answers, as if it stood in a cell below all earlier parts."""
    answer = ANSWERS[number]
    names = dict(vars(mine.references()), torch=torch, nn=torch.nn, F=F)
    name = tasks()[answer["id"]].title
    function = patches.run(answer["code"], f"<unseen {number}>", names)[name]
    begin = time.perf_counter()
    verdict = decide(tasks()[answer["id"]], function, stubs().get(answer["id"]))
    return verdict, time.perf_counter() - begin


def ids_of(kind):
    return [
        pytest.param(i, id=f"{a['id']}-{a['what'][:40]}") for i, a in enumerate(ANSWERS) if a["kind"] in kind
    ]


def test_every_task_has_its_answers():
    counts = Counter((a["id"], a["kind"]) for a in ANSWERS)
    assert {id for id, _ in counts} == set(tasks())
    assert all(counts[id, kind] == KINDS[kind] for id in tasks() for kind in KINDS)


@pytest.mark.parametrize("number", ids_of(["style"]))
def test_right_in_an_unusual_way_is_right(number):
    verdict, _ = verdict_on(number)
    assert verdict.state == "right", f"{verdict.mistake}: {verdict.message}"


@pytest.mark.parametrize("number", ids_of(["single", "pair"]))
def test_no_wrong_answer_is_right(number):
    verdict, _ = verdict_on(number)
    assert verdict.state in ("wrong", "crashed"), verdict.message


@pytest.mark.parametrize("number", ids_of(["single", "pair"]))
def test_the_answer_is_still_called_what_it_was(number):
    """Where it is not: read the new message, score it, and write both into scores.json."""
    verdict, _ = verdict_on(number)
    assert verdict.mistake == SCORES[str(number)]["said"]


def share(kind, scores):
    own = [SCORES[str(i)]["score"] for i, a in enumerate(ANSWERS) if a["kind"] in kind]
    return sum(score in scores for score in own) / len(own)


def test_most_are_named_and_hardly_one_is_misled():
    assert share(["single"], ["named", "spot"]) >= 0.9
    assert share(["pair"], ["named", "spot"]) >= 0.6
    assert share(["single", "pair"], ["misleading"]) < 0.01
    assert share(["single", "pair"], ["accepted"]) == 0


def print_all():
    for i, answer in enumerate(ANSWERS):
        verdict, seconds = verdict_on(i)
        print(f"\n### {i}: {answer['id']} {answer['kind']}, {seconds:.2f} s\nis: {answer['what']}")
        print(f"check: {verdict.state}: {verdict.mistake}: {verdict.message}")


if __name__ == "__main__":
    print_all()
