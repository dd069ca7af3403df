"""`check_tasks` on data with one planted fault each: the fault is found, under its own name, and nothing else is."""

from __future__ import annotations

import dataclasses
import io
import sys
import types
from typing import Any

import pytest
from rich.console import Console

from rlvr_tasks.check import KINDS, Finding, Report, check_tasks
from rlvr_tasks.offers import with_tools
from rlvr_tasks.sources.arithmetic import arithmetic
from rlvr_verifiers.types import Task


def task(name: str, answer: str = "4", text: str | None = None, **changes: Any) -> Task:
    prompt = ({"role": "user", "content": text or f"How many are {name}?"},)
    return Task(**{"id": name, "prompt": prompt, "verifier": "math", "answer": answer, **changes})


def found(tasks: list[Task], **options: Any) -> dict[str, list[str]]:
    report = check_tasks(tasks, workers=1, **options)
    result: dict[str, list[str]] = {}
    for finding in report.findings:
        result.setdefault(finding.kind, []).append(finding.task_id)
    return result


def test_sound_tasks_give_no_findings() -> None:
    report = check_tasks(
        [*arithmetic(size=26), task("plain"), task("word", "yes", verifier="exact"), task("tagged", "7", info={"level": 1})],
        held_out={"eval": arithmetic(size=26, split="eval")},
        workers=2,
    )
    assert (report.tasks, report.golds_passed, report.findings, report.exit_reason) == (29, 29, (), None)


def test_each_fault_is_found_under_its_name() -> None:
    tasks = [
        task("unreadable", ""),
        task("unknown", verifier="mth"),
        task("wrong-demo", info={"demonstration": "Answer: 5"}),
        task("echo", "How many?", text="How many?", verifier="exact"),
        task("no-op", "I do not know.", verifier="exact"),
        task("expression", "5", text="What is 2 + 3?", verifier_args={"form": "any"}),
        task("shape", "x", verifier="format", verifier_args={"tags": ["steps"]}),
        task("sft", verifier="", info={"demonstration": "hello"}),
        task(
            "identity",
            '{"style": "function", "entry_point": "f", "cases": [{"args": [1], "expected": 1}, {"args": [2], "expected": 2}]}',
            verifier="code",
            info={"demonstration": "```python\ndef f(n): return n\n```"},
        ),
        task("pair", verifier="", info={"chosen": "a", "rejected": "b"}),
        task("same", verifier="", info={"chosen": "a", "rejected": "a "}),
    ]
    assert found(tasks) == {
        "gold_unreadable": ["unreadable", "unknown"],
        "gold_fails": ["wrong-demo"],
        "echo_passes": ["echo"],
        "no_op_passes": ["no-op"],
        "idle_passes": ["identity"],
        "restating_passes": ["expression"],
        "gold_unproved": ["shape"],
        "no_verifier": ["sft"],
        "preference_unusable": ["same"],
    }


def test_an_empty_completion_that_passes_is_found(tmp_path: Any) -> None:
    lenient = tmp_path / "lenient.py"
    lenient.write_text("def score(task, completion):\n    return True\n", encoding="utf-8")
    broken = tmp_path / "broken.py"
    broken.write_text("def score(task, completion):\n    raise KeyError('gold')\n", encoding="utf-8")
    tasks = [task("lenient", verifier=f"{lenient}:score"), task("broken", verifier=f"{broken}:score")]
    kinds = found(tasks)
    assert kinds.keys() == {"verifier_failed", "empty_passes", "echo_passes", "no_op_passes"}
    assert set(kinds["verifier_failed"]) == {"broken"}
    assert kinds["empty_passes"] == ["lenient"]


def test_duplicates_and_conflicts() -> None:
    tasks = [task("a", text="Same?"), task("b", text="same ?"), task("c", "5", text="Same?")]
    assert found(tasks) == {"duplicate_prompt": ["b"], "conflicting_gold": ["c"]}


def test_contamination_names_the_evaluation_set() -> None:
    words = " ".join(f"word{n}" for n in range(30))
    tasks = [task("copy", text="Is this in both?"), task("near", text=f"Now {words}"), task("part", text=words[:110])]
    held_out = {"held": [task("e1", text="Is this in both?"), task("e2", text=f"{words} end")]}
    report = check_tasks(tasks, held_out=held_out, workers=1)
    kinds = {finding.task_id: (finding.kind, finding.detail.split(",")[0]) for finding in report.findings}
    assert kinds == {
        "copy": ("contaminated", "e1 of held"),
        "near": ("near_copy", "e2 of held"),
        "part": ("overlap", "e2 of held"),
    }
    assert report.exit_reason == "3 tasks checked, not fit for training: 1 contaminated, 1 near_copy"


def test_only_errors_are_a_reason_to_stop() -> None:
    report = Report(tasks=2, golds_passed=2, findings=(Finding(kind="duplicate_prompt", task_id="b"),))
    assert report.exit_reason is None
    assert report.counts == {"duplicate_prompt": 1}


def test_the_table_shows_every_kind_and_no_control_characters() -> None:
    findings = tuple(Finding(kind=kind, task_id="t\x1b[2J", detail="[red]") for kind in KINDS)
    stream = io.StringIO()
    Console(file=stream, width=200).print(Report(tasks=1, golds_passed=0, findings=findings).table())
    text = stream.getvalue()
    assert all(kind in text for kind in KINDS)
    assert "\x1b" not in text
    assert "t\\x1b[2J: [red]" in text


def test_checking_needs_no_training_stack() -> None:
    import subprocess

    code = "import rlvr_tasks.check, rlvr_tasks.registry, sys; print([m for m in ('torch', 'datasets', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
    assert isinstance(sys.modules["rlvr_tasks.check"], types.ModuleType)


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_says_what_it_means(kind: str) -> None:
    severity, meaning = KINDS[kind]
    assert severity in ("error", "warning")
    assert len(meaning) > 20


def test_tool_tasks_prove_their_golds_and_say_where_any_reply_passes() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
    ask = ({"role": "user", "content": "Call f."},)
    called = Task(id="call", prompt=ask, verifier="tool_call", answer='[{"f": {"a": [1, ""]}}]', tools=(tool,))
    idle = Task(id="none", prompt=({"role": "user", "content": "Hello."},), verifier="tool_call", answer="[]", tools=(tool,))
    delete = '{"calls": [{"name": "delete", "arguments": {"path": "/a"}}]}'
    files = Task(
        id="env",
        prompt=({"role": "user", "content": "Delete /a."},),
        verifier="tool_env",
        answer=delete,
        environment="files",
        env_args={"files": {"/a": ""}},
    )
    nothing = dataclasses.replace(files, id="nothing", prompt=({"role": "user", "content": "?"},), answer='{"calls": []}')
    report = check_tasks(with_tools([called, idle, files, nothing]), workers=1)
    assert report.golds_passed == 3
    assert [(finding.kind, finding.task_id) for finding in report.findings] == [
        ("gold_unreadable", "nothing"),
        ("any_reply_passes", "none"),
    ]
