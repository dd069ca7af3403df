"""Run folders made without a model, for what reads run folders. Everything goes through the writers that `rlvr train` uses."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlvr.config.load import parse_config, resolved
from rlvr.redaction import Redactor
from rlvr.run_folder import RunFolder
from rlvr.types import Group, Rollout
from rlvr_verifiers.types import Completion, Score, Task

WORDS = ["the", "sum", "of", "both", "numbers", "is", "so", "answer", "smallest", "largest", "because", "then"]


def made_config(seed: int = 0, **rl: Any) -> dict[str, Any]:
    """A whole resolved config, as `rlvr train` writes it."""
    section = {"tasks": [{"source": "arithmetic"}], "optimizer": {"learning_rate": 1e-4}, "group_size": 4, **rl}
    return resolved(parse_config({"model": {"name": "no/such-model"}, "rl": section, "seed": seed}))


def step_metrics(accuracy: float = 0.5, **changed: float) -> dict[str, float]:
    """A step's metrics as they are when nothing is wrong; `changed` with / written as __."""
    return {
        "reward/mean": accuracy,
        "accuracy": accuracy,
        "accuracy/sums": accuracy,
        "reasons/ok": accuracy,
        "reasons/mismatch": 1 - accuracy,
        "completion/tokens_mean": 20.0,
        "completion/tokens_max": 30.0,
        "completion/truncated_fraction": 0.0,
        "groups/sampled": 8.0,
        "groups/kept": 6.0,
        "groups/all_right": 0.1,
        "groups/all_wrong": 0.15,
        "groups/zero_variance": 0.25,
        "groups/waste_fraction": 0.25,
        "rollouts/infra_failures": 0.0,
        "tokens/generated": 640.0,
        "tokens_per_s": 320.0,
        "time/rollout_s": 2.0,
        "time/verify_s": 0.5,
        "time/update_s": 1.0,
        "time/sync_s": 0.25,
        "time/step_s": 4.0,
        "loss": 0.001,
        "grad_norm": 0.3,
        "entropy": 0.6,
        "engine_gap": 0.01,
        "clip_low_fraction": 0.001,
        "clip_high_fraction": 0.002,
        **{name.replace("__", "/"): value for name, value in changed.items()},
    }


def made_rollout(task: str, text: str, value: float | None = 1.0, **changed: Any) -> Rollout:
    score = {"value": value, "passed": value == 1.0, "reason": "ok" if value == 1.0 else "mismatch", **changed}
    ids = tuple(range(100, 100 + max(1, min(len(text), 50))))
    return Rollout(
        task=Task(
            id=task,
            prompt=({"role": "user", "content": f"Question {task}: 1 + 1?"},),
            verifier="math",
            answer="2",
            data_source="sums",
        ),
        completion=Completion(
            text=text,
            messages=({"role": "assistant", "content": text},),
            prompt_ids=(1, 2),
            token_ids=ids,
            sampled_logprobs=tuple(-0.1 * (i % 20) for i in range(len(ids))),
            loss_mask=(True,) * len(ids),
        ),
        score=Score(**score),
        reward=value or 0.0,
    )


def made_group(task: str, texts: Sequence[str], draw: random.Random) -> Group:
    rollouts = tuple(
        made_rollout(task, text, value, explanation=f"{text[:20]!r} against the gold '2'", parsed=text[-8:])
        for text in texts
        for value in [float(draw.random() < 0.5)]
    )
    mean = math.fsum(r.reward for r in rollouts) / len(rollouts)
    return Group(task=rollouts[0].task, rollouts=rollouts, advantages=tuple(r.reward - mean for r in rollouts))


def made_run(
    output_dir: Path,
    name: str = "made-0",
    *,
    steps: int = 12,
    groups: int = 4,
    group_size: int = 4,
    text: Callable[[random.Random], str] | None = None,
    metrics: Callable[[int], dict[str, float]] | None = None,
    evaluations: Sequence[int] = (),
    accuracy: float = 0.5,
    config: dict[str, Any] | None = None,
    finished: bool = True,
    seed: int = 0,
) -> Path:
    """A finished run of `steps` RL steps; evaluations after the steps named, each of 20 tasks with 2 samples."""
    draw = random.Random(seed)
    folder = RunFolder.create(output_dir, name, Redactor({}))
    folder.describe(config or made_config(), hashes={"model": "sha256:00"}, verifiers={"math": "rlvr 0.1.0"})
    say = text or (lambda d: " ".join(d.choice(WORDS) for _ in range(d.randint(5, 30))))
    for step in range(1, steps + 1):
        values = metrics(step) if metrics else step_metrics(0.3 + 0.5 * step / steps)
        folder.log_metrics("rl", step, values)
        made = [made_group(f"task-{step * groups + g}", [say(draw) for _ in range(group_size)], draw) for g in range(groups)]
        folder.write_rollouts("rl", step, made, made)
        if step in evaluations:
            evaluated = [
                made_rollout(f"held-{t}", "two" if draw.random() < 0.5 else "three", float(draw.random() < accuracy))
                for t in range(20)
                for _ in range(2)
            ]
            folder.write_evaluation("rl", step, "heldout", evaluated)
            share = sum(r.score.passed for r in evaluated) / len(evaluated)
            ends = {"heldout/accuracy": share, "heldout/accuracy_low": share - 0.1, "heldout/accuracy_high": share + 0.1}
            folder.log_metrics("rl", step, ends)
    if finished:
        folder.write_summary({"evaluations": [], "gains": {}})
    return folder.path
