"""`rlvr eval`: held-out accuracy of a model, with or without an adapter, on a config's tasks or a file of records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rlvr.config.load import load_config, parse_config, resolved
from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.evaluation import Evaluation, check_ids
from rlvr.pass_rates import PassRates
from rlvr.redaction import Redactor
from rlvr.rollout_table import evaluation_table
from rlvr_verifiers.types import Task

DEFAULT_COMPLETION_TOKENS = 512


def eval_config(
    path: Path | None,
    overrides: Sequence[str],
    *,
    model: str | None,
    adapter: Path | None,
    tasks: Path | None,
    samples: int | None,
) -> Config:
    """The config an evaluation runs with. Raises `RlvrError` where it is not said what to evaluate, or on what."""
    if path is None and (model is None or tasks is None):
        raise RlvrError("rlvr eval: give a CONFIG, or --model and --tasks")
    base: dict[str, Any] = {
        "rl": None,
        "sft": None,
        "preference": None,
        "reward_model": None,
        "stages": [],
        "continue_if": {},
    }
    data = {**resolved(load_config(path, overrides)), **base} if path is not None else base
    if model is not None:
        data["model"] = {**data.get("model", {}), "name": model}
    if adapter is not None:
        data["adapter"] = {**data.get("adapter", {}), **adapter_shape(adapter), "init_from": str(adapter)}
    if tasks is not None:
        source = {"source": "jsonl", "args": {"path": str(tasks)}}
        data["eval"] = {"max_completion_tokens": DEFAULT_COMPLETION_TOKENS, **(data.get("eval") or {}), "tasks": [source]}
    if data.get("eval") is None:
        raise RlvrError(f"{path}: there is no eval section; add one or give --tasks")
    if samples is not None:
        data["eval"] = {**data["eval"], "samples": samples}
    return parse_config(data, where="rlvr eval")


def run_evaluation(config: Config, output: Path | None) -> Evaluation:
    """Loads model and engine, samples, scores; writes every scored completion to `output`, which is tried first."""
    from rlvr_tasks.registry import load_tasks

    assert config.eval is not None
    if output is not None:
        check_output(output)
    tasks = [task for part in config.eval.tasks for task in load_tasks(part)]
    check_ids(tasks, "eval.tasks")  # before a model is loaded
    evaluation, _ = sample_and_score(config, tasks, label=config.model.name)
    if output is not None:
        pq.write_table(evaluation_table("eval", 0, evaluation.rollouts, Redactor()), output, compression="zstd")
    return evaluation


def check_output(file: Path) -> None:
    """Makes the folder of a file that is written after all sampling. Raises `RlvrError` where it could not be written then."""
    existed = file.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("ab").close()
        if not existed:
            file.unlink()
    except OSError as error:
        raise RlvrError(f"--output: {file} cannot be written ({error.strerror or error}); choose another file") from None


def pass_rates(evaluation: Evaluation) -> PassRates:
    """Rates by source and what failed, of every completion that was sampled."""
    rates = PassRates()
    for rollout in evaluation.rollouts:
        rates.add(rollout.task.id, rollout.task.data_source, rollout.score)
    return rates


def sample_and_score(config: Config, tasks: Sequence[Task], *, label: str) -> tuple[Evaluation, dict[str, str]]:
    """Evaluates the config's model on these tasks as `config.eval` says; also the hashes of model and adapter."""
    from rlvr.manifest import fingerprint
    from rlvr.models import locate_model

    where = locate_model(config.model.name, config.model.revision)
    hashes = {"model": fingerprint(where) if isinstance(where, Path) else f"{where}@{config.model.revision or 'main'}"}
    if config.adapter.init_from is not None:
        hashes["adapter"] = fingerprint(config.adapter.init_from)
    return asyncio.run(_evaluate(config, tasks, where, label)), hashes


async def _evaluate(config: Config, tasks: Sequence[Task], where: Path | str, label: str) -> Evaluation:
    from rlvr.engine_judge import EngineJudge
    from rlvr.engines import build_engine
    from rlvr.environments import open_environments
    from rlvr.evaluation import evaluate
    from rlvr.hand_over import HandOver
    from rlvr.interrupt import StopRequest
    from rlvr.policy import load_policy
    from rlvr.sampling import Sampler
    from rlvr.scoring import ScoringThread
    from rlvr.train import choose_device
    from rlvr_verifiers.pool import VerifierPool

    assert config.eval is not None
    policy = load_policy(config, where, choose_device(config))
    engine = build_engine(config, policy, where)
    hand_over = HandOver(policy, engine, config, tasks[:16])
    try:
        with ScoringThread(VerifierPool(config.verification.workers, config.verification.deadline_s)) as scorer:
            stop = StopRequest()
            sampler = Sampler(
                engine,
                scorer,
                policy.chat,
                stop,
                open_environments(config.tools),
                EngineJudge(policy.chat, config.engine.max_model_len),
            )
            await hand_over(0)
            with stop.listening():
                return await evaluate(sampler, tasks, config.eval, label=label, seed=config.seed)
    finally:
        hand_over.close()
        engine.close()


def adapter_shape(folder: Path) -> dict[str, Any]:
    """Rank, layers and strength as the adapter was trained with: what a rank-stabilised one divides by is the root of its rank."""
    import json

    file = folder / "adapter_config.json"
    if not file.is_file():
        raise RlvrError(f"--adapter: {folder} is not an adapter folder (adapter_config.json not found)")
    data = json.loads(file.read_text(encoding="utf-8"))
    targets = data["target_modules"]
    return {
        "rank": data["r"],
        "alpha": data["lora_alpha"] * (data["r"] ** 0.5 if data.get("use_rslora") else 1),
        "target_modules": targets if isinstance(targets, str) else sorted(targets),
    }
