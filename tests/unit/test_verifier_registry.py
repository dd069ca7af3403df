"""Finding, loading and versioning verifiers, and making a verifier of whatever can judge."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rlvr_verifiers import registry
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import MAX_EXPLANATION, Verifier, as_score
from rlvr_verifiers.registry import BUILT_IN, available, check_task, file_module, required_verifiers, resolve, version_of
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Score, Task


def task(verifier: str, answer: str = "42", **arguments: object) -> Task:
    return Task(id="t", prompt=(), verifier=verifier, answer=answer, verifier_args=arguments)


def grader(folder: Path, body: str, name: str = "grader.py") -> Path:
    file = folder / name
    file.write_text(body)
    return file


def test_every_built_in_resolves_to_a_verifier() -> None:
    for name in BUILT_IN:
        assert isinstance(resolve(name), Verifier)
        assert resolve(name) is resolve(name)


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(VerifierError, match="did you mean 'exact'") as caught:
        resolve("exakt")
    assert all(name in str(caught.value) for name in BUILT_IN)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:score", "cannot be loaded"),
        ("json:no_such_function", "no_such_function"),
        ("json:", "module:name"),
        ("nowhere/grader.py:score", "does not exist"),
        ("math:pi", "must be a function"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_it_went(name: str, message: str) -> None:
    with pytest.raises(VerifierError, match=message) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_a_file_that_fails_on_import_is_reported_and_may_be_mended(tmp_path: Path) -> None:
    file = grader(tmp_path, "raise RuntimeError('half written')\n")
    with pytest.raises(VerifierError, match="half written"):
        resolve(f"{file}:score")
    grader(tmp_path, "def score(task, completion):\n    return True\n")
    assert score_now(task(f"{file}:score"), Completion(text="")).passed


@pytest.mark.parametrize(
    ("body", "value", "passed", "reason"),
    [
        ("def score(task, completion):\n    return completion.text == task.answer\n", 1.0, True, "ok"),
        ("def score(task, completion):\n    return 0.25\n", 0.25, False, "mismatch"),
        (
            "async def score(task, completion):\n    import asyncio\n    await asyncio.sleep(0.001)\n    return 1\n",
            1.0,
            True,
            "ok",
        ),
        ("class score:\n    async def score(self, task, completion):\n        return True\n", 1.0, True, "ok"),
        (
            "class Grader:\n    def score(self, task, completion):\n        return False\nscore = Grader()\n",
            0.0,
            False,
            "mismatch",
        ),
    ],
)
def test_functions_classes_and_objects_synchronous_or_not_are_verifiers(
    tmp_path: Path, body: str, value: float, passed: bool, reason: str
) -> None:
    score = score_now(task(f"{grader(tmp_path, body)}:score"), Completion(text="42"))
    assert (score.value, score.passed, score.reason) == (value, passed, reason)
    assert score.seconds > 0


@pytest.mark.parametrize("returned", ["None", "'yes'", "float('nan')", "[1.0]"])
def test_a_verifier_that_returns_nonsense_has_failed_and_not_the_policy(tmp_path: Path, returned: str) -> None:
    score = score_now(task(f"{grader(tmp_path, f'def score(t, c): return {returned}')}:score"), Completion(text=""))
    assert (score.value, score.passed, score.reason) == (None, False, "verifier_error")


def test_a_verifier_that_raises_says_what_and_where(tmp_path: Path) -> None:
    file = grader(tmp_path, "def score(task, completion):\n    raise KeyError('gone\\nmissing')\n")
    score = score_now(task(f"{file}:score"), Completion(text=""))
    assert score.value is None
    assert "KeyError" in score.explanation
    assert "grader.py:2 in score" in score.explanation
    assert "\n" not in score.explanation


def test_check_task_of_a_plug_in_runs_at_load_and_its_own_failure_is_a_line(tmp_path: Path) -> None:
    body = "class V:\n    def check_task(self, task):\n        return 'no' if task.answer == 'bad' else 1 / int(task.answer) and None\n"
    name = f"{grader(tmp_path, body + '    def score(self, task, completion): return True')}:V"
    assert check_task(task(name, "1")) is None
    assert check_task(task(name, "bad")) == "no"
    assert "ZeroDivisionError" in str(check_task(task(name, "0")))


def test_a_task_that_cannot_travel_to_a_worker_is_found_at_load() -> None:
    problem = check_task(Task(id="row-3", prompt=(), verifier="exact", answer="x", info={"when": object()}))
    assert problem is not None
    assert "row-3" in problem


def test_multi_names_what_it_needs() -> None:
    parts = [{"name": "format", "args": {"tags": ["answer"]}}, {"name": "multi", "args": {"verifiers": [{"name": "math"}]}}]
    assert required_verifiers(task("multi", verifiers=parts)) == ("multi", "format", "math")


def test_entry_points_are_found_and_cannot_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EntryPoint("mine", "rlvr_verifiers.exact:Exact", registry.ENTRY_POINT_GROUP)
    stolen = EntryPoint("math", "evil:score", registry.ENTRY_POINT_GROUP)
    twice = [EntryPoint("twice", value, registry.ENTRY_POINT_GROUP) for value in ("a:x", "b:x")]
    monkeypatch.setattr(registry, "_plug_ins", lambda: {"mine": (mine,), "math": (stolen,), "twice": tuple(twice)})
    monkeypatch.setattr(registry, "_loaded", {})
    assert score_now(task("mine"), Completion(text="42")).passed
    assert available()["math"] == BUILT_IN["math"]
    assert available()["evil:score"] == "evil:score"
    with pytest.raises(VerifierError, match="claimed by a:x and b:x"):
        resolve("twice")


def test_a_version_follows_the_source(tmp_path: Path) -> None:
    assert version_of("math").startswith("rlvr ")
    assert version_of("math") == version_of("exact")  # one package, one hash
    file = grader(tmp_path, "def score(t, c): return True\n")
    before = version_of(f"{file}:score")
    grader(tmp_path, "def score(t, c): return False\n")
    assert before.startswith("grader.py sha256:")
    assert version_of(f"{file}:score") != before


def test_long_explanations_are_cut() -> None:
    score = as_score(Score(value=0.0, passed=False, reason="x", explanation="e" * 10**6, parsed="p" * 10**6), "v")
    assert len(score.explanation) == MAX_EXPLANATION
    assert score.parsed is not None
    assert len(score.parsed) == MAX_EXPLANATION


def test_importing_the_package_stays_light() -> None:
    code = "import sys, rlvr_verifiers, rlvr_verifiers.math; print([m for m in ('torch', 'sympy', 'asyncio', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_file_is_loaded_once_however_many_threads_want_it(tmp_path: Path) -> None:
    """A rollout's environment is resolved in a thread of its own, and many begin at once."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.2)\n\ndef score(task, completion):\n    return True\n")
    with ThreadPoolExecutor(8) as threads:
        whole = list(threads.map(lambda _: hasattr(file_module(f"{tmp_path}/slow.py"), "score"), range(8)))
    assert whole == [True] * 8
