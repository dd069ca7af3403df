"""`openai_grader`: an OpenAI grader, as reinforcement fine-tuning and evaluations take it, in `verifier_args.grader`.

    {"grader": {"type": "string_check", "operation": "eq", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}}

Types: `string_check` (eq, ne, like, ilike), `text_similarity` (fuzzy_match, rouge_1 to rouge_5, rouge_l), `python` (run in the
sandbox, never here) and `multi`. `item` is the task's `info`, with `answer` in it; `sample` has output_text, output_json and
output_tools. Passed is a value of `pass_threshold` (default 1.0) or more.

Left out, and refused when data is loaded: `score_model` and `label_model` (a judge, not a verifier), and the metrics bleu, gleu,
meteor and cosine, whose numbers depend on the libraries and models of the service. fuzzy_match is RapidFuzz's `ratio`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from rlvr_sandbox import Call, CodecError, Limits, Program, SandboxError, shared_sandbox
from rlvr_sandbox.frames import pack
from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.bridges.formula import Formula
from rlvr_verifiers.bridges.similarity import METRICS
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import MAX_SCANNED, final_text
from rlvr_verifiers.types import Completion, Score, Task

_HOLE = re.compile(r"\{\{\s*(sample|item)((?:\.\w+|\[\d+\])*)\s*\}\}")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_OVER = frozenset({"timeout", "memory", "output_limit", "crash"})
"""Endings that a completion can cause, so that they are worth 0 and not nothing."""
_LIMITS = Limits(wall_s=4.0, cpu_s=4.0, memory_mb=512)


class OpenAIGrader:
    reasons = frozenset({"ok", "mismatch", "no_answer", "too_large", "sandbox_error", "grader_error"}) | _OVER
    effects = frozenset({"files", "processes"})  # the sandbox's, for python graders

    def check_task(self, task: Task) -> str | None:
        grader = _grader(task)
        _check(grader, "grader")
        for name in _holes(grader):
            if name.startswith("item"):
                _look_up({"item": _item(task)}, name)
        return None

    def prepare_task(self, task: Task) -> None:
        """Starts the sandbox where a python grader needs it. Raises VerifierError where that is not possible."""
        if _runs_code(_grader(task)):
            try:
                shared_sandbox().walls()
            except SandboxError as error:
                raise VerifierError(f"verifier 'openai_grader': {error}") from error

    def value_range(self, task: Task) -> tuple[float, float]:
        return (
            (0.0, 1.0) if _grader(task).get("type") in ("string_check", "text_similarity") else (float("-inf"), float("inf"))
        )

    def score(self, task: Task, completion: Completion) -> Score:
        text = final_text(completion)
        if text is None:
            return _judged(0.0, "no_answer", "the completion never left its reasoning")
        if len(text) > MAX_SCANNED:
            return _judged(0.0, "too_large", f"the final turn has {len(text)} characters, over {MAX_SCANNED}")
        grader = _grader(task)
        try:
            value = _grade(grader, {"sample": _sample(completion, text), "item": _item(task)})
        except _GraderFailedError as failed:
            return _judged(failed.value, failed.reason, str(failed))
        threshold = grader.get("pass_threshold", 1.0)
        passed = value >= threshold
        return Score(
            value=value,
            passed=passed,
            reason="ok" if passed else "mismatch",
            explanation=f"{grader['type']} gives {value:g}, passed from {threshold:g}",
        )


class _GraderFailedError(Exception):
    """The grader gave no number. `value` None: our failure."""

    def __init__(self, message: str, reason: str = "grader_error", value: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.value = value


def _judged(value: float | None, reason: str, explanation: str) -> Score:
    return Score(value=value, passed=False, reason=reason, explanation=explanation)


def _grader(task: Task) -> Mapping[str, Any]:
    read = ArgumentReader("openai_grader", task.verifier_args)
    grader = read.mapping("grader")
    read.finish()
    return grader


def _runs_code(grader: Mapping[str, Any]) -> bool:
    parts = cast("Mapping[str, Mapping[str, Any]]", grader.get("graders", {}))
    return grader.get("type") == "python" or any(map(_runs_code, parts.values()))


def _check(grader: Mapping[str, Any], where: str) -> None:
    """Raises VerifierError, with the place, for a grader that cannot be used here."""
    kind = grader.get("type")
    wanted: dict[str, tuple[str, ...]] = {
        "string_check": ("input", "operation", "reference"),
        "text_similarity": ("input", "reference", "evaluation_metric"),
        "python": ("source",),
        "multi": ("graders", "calculate_output"),
    }
    if kind in ("score_model", "label_model"):
        raise VerifierError(f"{where}: type {kind!r} asks a model; use the verifier judge, or leave such rows out")
    if kind not in wanted:
        raise VerifierError(f"{where}: type {kind!r:.40}; known: {', '.join(wanted)}")
    for name in wanted[str(kind)]:
        if not isinstance(grader.get(name), Mapping if name == "graders" else str) or not grader[name]:
            raise VerifierError(f"{where}: {name}: found {grader.get(name)!r:.60}; a {kind} grader needs it")
    if not isinstance(grader.get("pass_threshold", 1.0), int | float):
        raise VerifierError(f"{where}: pass_threshold: found {grader['pass_threshold']!r:.60}; give a number")
    if kind == "string_check" and grader["operation"] not in ("eq", "ne", "like", "ilike"):
        raise VerifierError(f"{where}: operation {grader['operation']!r:.40}; known: eq, ne, like, ilike")
    if kind == "text_similarity" and grader["evaluation_metric"] not in METRICS:
        raise VerifierError(
            f"{where}: evaluation_metric {grader['evaluation_metric']!r:.40}; known here: {', '.join(METRICS)}"
        )
    if kind == "multi":
        graders = cast("Mapping[str, Mapping[str, Any]]", grader["graders"])
        for name, part in graders.items():
            _check(part, f"{where}.graders.{name}")
        Formula.parse(grader["calculate_output"], frozenset(graders))


def _grade(grader: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    kind = grader["type"]
    if kind == "multi":
        graders = cast("Mapping[str, Mapping[str, Any]]", grader["graders"])
        parts = {name: _grade(part, values) for name, part in graders.items()}
        return Formula.parse(grader["calculate_output"], frozenset(parts)).value(parts)
    if kind == "python":
        return _run(grader["source"], values)
    given, reference = _filled(grader["input"], values), _filled(grader["reference"], values)
    if kind == "text_similarity":
        return METRICS[grader["evaluation_metric"]](given, reference)
    return float(_compares(grader["operation"], given, reference))


def _compares(operation: str, given: str, reference: str) -> bool:
    if operation == "ilike":
        return reference.casefold() in given.casefold()
    return {"eq": given == reference, "ne": given != reference, "like": reference in given}[operation]


def _run(source: str, values: Mapping[str, Any]) -> float:
    """`grade(sample, item)` in a box: the grader's own code, on hostile text."""
    program = Program(source=source, mode="function", entry_point="grade", limits=_LIMITS)
    try:
        result = shared_sandbox().run_now(program, call=Call(args=(values["sample"], values["item"])))
    except (SandboxError, ValueError) as error:
        raise _GraderFailedError(f"the grader could not be run: {error}", "sandbox_error") from error
    if result.status in _OVER:
        raise _GraderFailedError(f"the grader ran over its limits on this completion: {result.message}", result.status, 0.0)
    if result.status != "ok":
        raise _GraderFailedError(f"the grader ended with {result.status}: {clip(result.message, 200)}")
    if isinstance(result.value, bool) or not isinstance(result.value, int | float):
        raise _GraderFailedError(f"grade returned {clip(repr(result.value), 80)}; it must return a number")
    return float(result.value)


def _item(task: Task) -> dict[str, Any]:
    return {"answer": task.answer, **task.info}


def _sample(completion: Completion, text: str) -> dict[str, Any]:
    """What a grader sees of the completion. `output_json` is None where the text is no JSON, or too deep to be carried into a box.

    Raises _GraderFailedError where the calls cannot be carried.
    """
    tools: Any = (completion.messages[-1].get("tool_calls") if completion.messages else None) or []
    if not _can_be_carried(tools):
        raise _GraderFailedError("its calls are too deep or too long for a box", "too_large", 0.0)
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    found = parsed if _can_be_carried(parsed) else None
    return {"output_text": text, "output_json": found, "output_tools": tools, "choices": []}


def _can_be_carried(value: Any) -> bool:
    """As a part of the first argument of a call."""
    try:
        pack("call", 1, ({"": value},), {})
    except CodecError:
        return False
    return True


def _holes(value: Any) -> list[str]:
    if isinstance(value, str):
        return [match.group(1) + match.group(2) for match in _HOLE.finditer(value)]
    if isinstance(value, Mapping):
        return [hole for part in cast("Mapping[str, Any]", value).values() for hole in _holes(part)]
    return []


def _filled(template: str, values: Mapping[str, Any]) -> str:
    def fill(match: re.Match[str]) -> str:
        found = _look_up(values, match.group(1) + match.group(2), lenient=match.group(1) == "sample")
        return found if isinstance(found, str) else json.dumps(found)

    return _HOLE.sub(fill, template)


def _look_up(values: Mapping[str, Any], path: str, *, lenient: bool = False) -> Any:
    """`item.a.b[0]`: keys and positions only. What a completion lacks is empty; what the item lacks is an error."""
    found: Any = values
    for name, position in _STEP.findall("." + path):
        if isinstance(found, Mapping) and name in found:
            found = cast("Mapping[str, Any]", found)[name]
        elif isinstance(found, list) and position and int(position) < len(cast("list[Any]", found)):
            found = cast("list[Any]", found)[int(position)]
        elif lenient:
            return ""
        else:
            raise VerifierError(f"the grader asks for {path!r}, which the task's info does not have")
    return found
