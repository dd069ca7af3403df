"""The conformance suite catches a verifier that breaks a rule, says which, and accuses nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr_verifiers.conformance import check
from rlvr_verifiers.errors import VerifierError

VERIFIERS = Path(__file__).with_name("unfaithful_verifiers.py")
ROWS = [
    {"prompt": "6 * 7?", "answer": "42", "completion": "42", "passed": True},
    {"prompt": "6 * 7?", "answer": "42", "completion": "41", "passed": False},
    {"prompt": "6 * 7?", "answer": "42", "completion": "It is 42 or 41.", "passed": False},
    {"prompt": "Again?", "answer": "no", "completion": "no", "passed": True, "value": 1.0, "reason": "ok"},
]

# Verifier, the rules it breaks, and a word of the explanation.
BROKEN = [
    ("cases", {"cases"}, "should fail"),
    ("Gold", {"gold", "arguments"}, "I do not like it"),
    ("Arguments", {"arguments"}, "surprise_key"),
    ("deterministic", {"deterministic", "workers", "threads"}, "parsed"),
    ("Batch", {"batch"}, "alone and in a batch differ"),
    ("fickle", {"batch"}, "two things of one group"),
    ("threads", {"threads"}, "16 threads"),
    ("workers", {"workers"}, "parsed"),
    ("survives", {"survives"}, "UnicodeEncodeError"),
    ("survives_slowly", {"survives"}, "timeout"),
    ("nothing", {"nothing"}, "empty"),
    ("range_", {"range", "cases"}, "value_range"),
    ("Reasons", {"reasons"}, "'no'"),
    ("effects_files", {"effects"}, "seen.txt"),
    ("effects_network", {"effects"}, "127.0.0.1"),
    ("effects_processes", {"effects"}, "Popen"),
    ("state", {"state"}, "environment variables, recursion limit, random state"),
    ("memory", {"memory"}, "KB a call"),
    ("errors", {"errors"}, "TwoPartError"),
    ("ErrorsOfCheck", {"errors"}, "IndexError"),
]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_faithful_verifier_keeps_every_rule(cases: Path) -> None:
    report = check(f"{VERIFIERS}:faithful", cases)
    assert report.passed, report.text()
    assert report.cases == 4
    assert report.figures["per_second"] > 1_000
    assert "sha256:" in report.version
    assert len(report.text().splitlines()) == len(report.findings) + 1


def test_one_that_ranks_a_group_keeps_every_rule(cases: Path) -> None:
    report = check(f"{VERIFIERS}:ranked", cases)
    assert report.passed, report.text()


@pytest.mark.parametrize(("name", "rules", "told"), BROKEN)
def test_an_unfaithful_one_is_caught(name: str, rules: set[str], told: str, cases: Path) -> None:
    report = check(f"{VERIFIERS}:{name}", cases, deadline_s=1.0, rules=rules if name == "survives_slowly" else ())
    assert rules & report.broken.keys(), report.text()
    assert report.broken.keys() <= rules, report.text()
    assert any(told in broken for broken in report.broken.values()), report.text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs a completion that passes"),
        ('{"prompt": "?", "answer": "1", "completion": "1", "passed": true}', "one that does not"),
        ("[]", "JSON object"),
        ("{", "not JSON"),
        ('{"prompt": "?", "answer": "1", "completion": "1", "pass": true}', "unknown keys"),
        ('{"prompt": "?", "answer": 1, "completion": "1", "passed": true}', "answer: found 1"),
    ],
)
def test_a_cases_file_that_cannot_be_used_is_refused_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(text)
    with pytest.raises(VerifierError, match=told):
        check(f"{VERIFIERS}:faithful", path)


def test_a_verifier_without_cases_is_told_where_to_put_them() -> None:
    with pytest.raises(VerifierError, match=r"unfaithful_verifiers_cases\.jsonl"):
        check(f"{VERIFIERS}:faithful")
