"""`rlvr verifiers new`: what it writes is whole, named throughout, and never over something else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rlvr_verifiers.conformance import find_cases, read_cases
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.scaffold import new_verifier


def test_a_package_names_itself_and_its_cases_are_read(tmp_path: Path) -> None:
    files = new_verifier("word_count", tmp_path)
    assert [str(path.relative_to(tmp_path / "word_count")) for path in files] == [
        "pyproject.toml",
        "README.md",
        "word_count/__init__.py",
        "word_count/cases.jsonl",
        "tests/test_word_count.py",
    ]
    project = tomllib.loads(files[0].read_text())["project"]
    assert project["entry-points"]["rlvr.verifiers"] == {"word_count": "word_count:Verifier"}
    assert not any("$" in path.read_text() for path in files)
    verifier = f"{files[2]}:Verifier"
    assert find_cases(verifier) == files[3]
    assert sum(case.refused for case in read_cases(files[3], verifier)) == 1


def test_a_single_file_has_its_cases_beside_it(tmp_path: Path) -> None:
    file, cases = new_verifier("word_count", tmp_path, single_file=True)
    assert find_cases(f"{file}:score") == cases
    assert resolve(f"{file}:score").batch is None


@pytest.mark.parametrize("name", ["Word", "1st", "a-b", "a b", "../up", "class", "", "math"])
def test_a_name_that_cannot_be_used_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(VerifierError, match="name"):
        new_verifier(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "word_count_cases.jsonl").write_text("mine")
    with pytest.raises(VerifierError, match="exists already"):
        new_verifier("word_count", tmp_path, single_file=True)
    assert not (tmp_path / "word_count.py").exists()
