"""One small change makes a right program wrong, and the code verifier sees it as plain Python does, whatever kind the test is of."""

from __future__ import annotations

import json

import pytest

from benchmarks.code_mutants import drawn, mutant, plain_python_passes, sites, verifier_passes
from rlvr_verifiers.types import Task

PROGRAM = '''
def runs(values, least=2):
    """Runs of equal neighbours, as [value, length], of at least so many."""
    found = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1][1] += 1
        else:
            found.append([value, 1])
    return [run for run in found if run[1] >= least and not run[0] is None]
'''
LITERAL = """
def check(candidate):
    assert candidate([]) == []
    assert candidate([1, 1, 2, 3, 3, 3, 1]) == [[1, 2], [3, 3]]
    assert candidate([1, 2, 2], 1) == [[1, 1], [2, 2]]
    assert candidate([None, None, 0, 0]) == [[0, 2]]
    assert candidate([7, 7], least=3) == []
"""
AS_CODE = """
def check(candidate):
    for values, least, lengths in (([], 2, []), ([1, 1, 2, 3, 3, 3, 1], 2, [2, 3]), ([1, 2, 2], 1, [1, 2]), ([7, 7], 3, [])):
        assert [length for _, length in candidate(values, least)] == lengths
    assert candidate([1, 1, 5]) == [[1, 2]]
    assert candidate([None, None, 0, 0]) == [[0, 2]]
"""


def task(check: str) -> Task:
    answer = json.dumps({"style": "function", "entry_point": "runs", "check": check})
    prompt = ({"role": "user", "content": "Write it."},)
    return Task(id="runs", prompt=prompt, verifier="code", answer=answer)


@pytest.mark.parametrize("check", [LITERAL, AS_CODE])
def test_every_mutant_fails_and_the_reference_passes(check: str) -> None:
    judged = task(check)
    assert verifier_passes(judged, PROGRAM)
    assert plain_python_passes(judged, PROGRAM)
    broken = [made for site in sites(PROGRAM) if (made := mutant(PROGRAM, site)) is not None]
    assert len(broken) > 20
    assert len({made.kind for made in broken}) >= 7
    wrong = [made.change for made in broken if verifier_passes(judged, made.source, 1.0)]
    assert wrong == []
    assert not any(plain_python_passes(judged, made.source, 1.0) for made in broken)


def test_an_equivalent_mutant_passes_both() -> None:
    source = "def runs(values):\n    return len(values) * 2 + 0\n"
    check = "assert runs([]) == 0\nassert runs([5, 6]) == 4"
    [same] = [made for site in sites(source) if (made := mutant(source, site)) and "* 2 - 0" in made.source]
    assert same.kind == "operator"
    assert verifier_passes(task(check), same.source)
    assert plain_python_passes(task(check), same.source)


def test_mutants_are_drawn_the_same_for_a_seed_and_all_differ() -> None:
    first, again, other = drawn(PROGRAM, 12, "a"), drawn(PROGRAM, 12, "a"), drawn(PROGRAM, 12, "b")
    assert first == again != other
    assert len({made.source for made in first}) == 12
    assert '"""Runs of equal' in first[0].source  # docstrings are left alone
