"""`rlvr pairs`: sample several completions a prompt, score them, and write preference pairs or verified demonstrations.

Beside OUT stands OUT.provenance.json: versions, commit, hashes of model and adapter, the resolved config, and what became of every
completion.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rlvr.commands.evaluate import adapter_shape, check_output, sample_and_score
from rlvr.config.load import load_config, parse_config, resolved
from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.preference.from_rollouts import Counts, PairRule, pairs_of, verified_of
from rlvr.types import Rollout
from rlvr_verifiers.types import Task

DEFAULT_COMPLETION_TOKENS = 512


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path | None
    overrides: Sequence[str]
    model: str | None
    adapter: Path | None
    tasks: Path | None
    limit: int | None
    samples: int
    temperature: float | None
    verifier: str | None
    verifier_args: str | None
    kind: Literal["pairs", "sft"]
    rule: PairRule
    output: Path


def make_dataset(request: Request) -> Counts:
    """Samples, scores and writes. Raises `RlvrError` where it is not said what to sample, or nothing came of it."""
    if request.output.exists():
        raise RlvrError(f"{request.output} exists already; choose another file")
    if request.samples < (2 if request.kind == "pairs" else 1):
        raise RlvrError(f"--samples {request.samples}: a pair needs at least two completions of a prompt")
    check_output(request.output)
    config = sampling_config(request)
    tasks = [_judged_by(task, request) for part in _evaluation(config).tasks for task in _load(part)]
    _check(tasks)
    evaluation, hashes = sample_and_score(config, tasks, label=request.kind)
    groups: dict[str, list[Rollout]] = {}
    for rollout in evaluation.rollouts:
        groups.setdefault(rollout.task.id, []).append(rollout)
    provenance = _provenance(config, tasks, hashes)
    rows, counts = [], Counts()
    for rollouts in groups.values():
        if request.kind == "pairs":
            made, counted = pairs_of(rollouts, request.rule, provenance["row"])
        else:
            made, counted = verified_of(rollouts, request.rule.per_prompt, provenance["row"])
        rows += made
        counts += counted
    if not rows:
        raise RlvrError(
            f"no {request.kind} came of {counts.completions} completions ({describe(counts)}); nothing was written"
        )
    _write(request.output, rows, {**provenance["run"], "counts": dataclasses.asdict(counts)})
    return counts


def sampling_config(request: Request) -> Config:
    """A config whose eval section samples the tasks to be learnt from: --tasks, or else the config's rl.tasks."""
    if request.config is None and (request.model is None or request.tasks is None):
        raise RlvrError("rlvr pairs: give a CONFIG, or --model and --tasks")
    data: dict[str, Any] = resolved(load_config(request.config, request.overrides)) if request.config else {}
    rl = data.get("rl") or {}
    parts = [{"source": "jsonl", "args": {"path": str(request.tasks)}}] if request.tasks else list(rl.get("tasks") or ())
    if not parts:
        raise RlvrError(f"{request.config}: there are no rl.tasks to sample; give --tasks")
    parts = [{**part, "weight": 1.0} for part in parts]  # a share of RL's batches; here every task is sampled
    if request.limit is not None:
        parts = [{**part, "limit": request.limit} for part in parts]
    if request.model is not None:
        data["model"] = {**data.get("model", {}), "name": request.model}
    if request.adapter is not None:
        data["adapter"] = {**data.get("adapter", {}), **adapter_shape(request.adapter), "init_from": str(request.adapter)}
    data["eval"] = {
        "tasks": parts,
        "samples": request.samples,
        "temperature": rl.get("temperature", 1.0) if request.temperature is None else request.temperature,
        "max_completion_tokens": rl.get("max_completion_tokens", DEFAULT_COMPLETION_TOKENS),
    }
    idle: dict[str, Any] = {
        "rl": None,
        "sft": None,
        "preference": None,
        "reward_model": None,
        "stages": [],
        "continue_if": {},
    }
    return parse_config({**data, **idle}, where="rlvr pairs")


def describe(counts: Counts) -> str:
    left_out = {
        "without a usable score": counts.unscored,
        "cut at the token limit": counts.truncated,
        "repeated or empty": counts.repeated,
    }
    parts = [f"{number} {what}" for what, number in left_out.items() if number]
    return f"{counts.without_pair} of {counts.prompts} prompts gave nothing" + (
        f"; left out: {', '.join(parts)}" if parts else ""
    )


def _load(part: Any) -> Sequence[Task]:
    from rlvr_tasks.registry import load_tasks

    return load_tasks(part, check_golds=False)


def _judged_by(task: Task, request: Request) -> Task:
    """The task with the verifier of the command line, where one is given."""
    if request.verifier is None:
        return task
    try:
        arguments = json.loads(request.verifier_args or "{}")
    except ValueError as error:
        raise RlvrError(f"--verifier-args: not JSON ({error})") from None
    if not isinstance(arguments, dict):
        raise RlvrError("--verifier-args: give a JSON object")
    return dataclasses.replace(task, verifier=request.verifier, verifier_args=arguments)


def _check(tasks: Sequence[Task]) -> None:
    from rlvr_tasks.registry import check_answers

    twice = len(tasks) - len({task.id for task in tasks})
    if twice:
        raise RlvrError(f"{twice} tasks have the id of another one; ids must be unique over all sources")
    check_answers(tasks, "rlvr pairs")


def _evaluation(config: Config) -> Any:
    assert config.eval is not None
    return config.eval


def _provenance(config: Config, tasks: Sequence[Task], hashes: dict[str, str]) -> dict[str, Any]:
    """`row`: in every row; `run`: once, beside the file."""
    from rlvr.manifest import build_manifest
    from rlvr.redaction import Redactor
    from rlvr_verifiers.registry import is_verifiable, version_of

    verifiers = {name: version_of(name) for name in sorted({task.verifier for task in tasks})}
    evaluation = _evaluation(config)
    row = {
        "model": config.model.name,
        "hashes": hashes,
        "temperature": evaluation.temperature,
        "samples": evaluation.samples,
        "seed": config.seed,
        "verifiers": verifiers,
        "verifiable": all(is_verifiable(task) for task in tasks),
    }
    redactor = Redactor()
    manifest = build_manifest(hashes=hashes, verifiers=verifiers, redactor=redactor)
    return {"row": row, "run": {**manifest, "config": redactor.value(resolved(config))}}


def _write(output: Path, rows: Sequence[dict[str, Any]], run: dict[str, Any]) -> None:
    from rlvr.run_folder import write_atomically

    write_atomically(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_atomically(output.with_name(f"{output.name}.provenance.json"), json.dumps(run, indent=2, default=str) + "\n")
