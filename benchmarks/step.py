"""One training step, ours beside TRL's GRPOTrainer: same model, same prompts, same rollouts, same machine, one run.

    python benchmarks/step.py --out docs/results/step.json

Each system runs in a process of its own, the two take turns, and medians over the measured steps are compared as ratios. The
rollouts that both update on are sampled once, by vLLM from the base model. TRL generates with its default engine (transformers)
and updates with gradient checkpointing off, which is its faster setting, and once, on the first workload, with it on
(`trl_checkpointing`), which is its default and its smaller one; ours is the loop's own code: vLLM, hand-over, learner.

    update     from rollouts in hand to new weights (TRL: training step without generation)
    rollout    sampling 32 completions
    step       rollout + update (ours: + hand-over of the adapter)
    peak       highest resident memory of the whole process during the phase
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROMPTS, GROUP = 4, 8
MAX_COMPLETION_TOKENS = 96
WORKLOADS = {"short": 123, "long": 400}  # prompt tokens, chat template included
MICRO_BATCH_TOKENS = {"short": 512, "long": 1024}  # ours: half a group at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each system per workload, taking turns")
    parser.add_argument("--steps", type=int, default=1, help="measured steps per process, after one that warms up")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--out", type=Path, default=Path("docs/results/step.json"))
    parser.add_argument("--child", choices=["rollouts", "trl", "trl_checkpointing", "rlvr"], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
    else:
        parent(arguments)


def parent(arguments: argparse.Namespace) -> None:
    results: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), **machine()}
    for workload in arguments.workloads:
        data = Path(f"/tmp/rlvr-step-{os.getpid()}-{workload}.json")
        data.write_text(json.dumps({"workload": workload}))
        data.write_text(json.dumps(run_child("rollouts", data, 0)))
        measured: dict[str, list[dict[str, float]]] = {}
        for turn in range(arguments.rounds):
            also = ["trl_checkpointing"] if turn == 0 and workload == arguments.workloads[0] else []
            for system in ["rlvr", "trl", *also]:
                measured.setdefault(system, []).extend(run_child(system, data, arguments.steps)["steps"])
                print(workload, system, measured[system][-1], flush=True)
        results[workload] = compare(measured, json.loads(data.read_text()))
        data.unlink()
        print(json.dumps(results[workload]["ratios"], indent=2), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {arguments.out}")


def compare(measured: dict[str, list[dict[str, float]]], data: dict[str, Any]) -> dict[str, Any]:
    medians = {
        system: {name: statistics.median(step[name] for step in steps) for name in steps[0]}
        for system, steps in measured.items()
    }
    ratios = {
        system: {
            name: round(medians[system][name] / medians["rlvr"][name], 2)
            for name in medians[system]
            if medians["rlvr"].get(name)
        }
        for system in medians.keys() - {"rlvr"}
    }
    lengths = [len(ids) for group in data["completions"] for ids in group]
    return {
        "prompt_tokens": [len(ids) for ids in data["prompts"]],
        "completion_tokens_mean": statistics.mean(lengths),
        "medians": medians,
        "ratios": ratios,
        "steps": measured,
    }


def run_child(kind: str, data: Path, steps: int) -> dict[str, Any]:
    out = data.with_suffix(f".{kind}.out")
    command = [sys.executable, __file__, "--child", kind, "--data", str(data), "--steps", str(steps), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result = json.loads(out.read_text())
    out.unlink()
    return result


def machine() -> dict[str, Any]:
    from rlvr.machine import cpu_name, usable_cores
    from rlvr.manifest import folder_commit, installed_versions

    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "versions": {**installed_versions(), "trl": _version("trl")},
        "commit": (folder_commit(Path.cwd()) or {}).get("commit"),
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


class PeakMemory:
    """Highest resident memory since `reset`, in MB, from the kernel's own counter."""

    def reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmHWM in /proc/self/status")


def child(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    data = json.loads(arguments.data.read_text())
    work = {
        "rollouts": sample_rollouts,
        "trl": time_trl,
        "trl_checkpointing": functools.partial(time_trl, gradient_checkpointing=True),
        "rlvr": time_rlvr,
    }
    result = work[arguments.child](data, arguments.steps)
    arguments.out.write_text(json.dumps(result))


def config(workload: str) -> Any:
    from rlvr.config.load import parse_config

    return parse_config(
        {
            "model": {"name": "smollm2-135m-instruct", "dtype": "bfloat16"},
            "adapter": {"rank": 16, "alpha": 32},
            "engine": {"max_model_len": 640, "max_sequences": 64, "kv_cache_gib": 0.25},
            "rl": {
                "algorithm": "grpo",
                "tasks": [{"source": "arithmetic"}],
                "group_size": GROUP,
                "prompts_per_step": PROMPTS,
                "max_completion_tokens": MAX_COMPLETION_TOKENS,
                "optimizer": {"learning_rate": 1e-5},
            },
            "micro_batch_tokens": MICRO_BATCH_TOKENS[workload],
            "head_chunk_tokens": 128,
        }
    )


def sample_rollouts(data: dict[str, Any], _steps: int) -> dict[str, Any]:
    """Prompts of about the wanted length, and the base model's completions of them."""
    policy, engine = load(config(data["workload"]))
    prompts = [make_prompt(policy.chat.tokenizer, WORKLOADS[data["workload"]], number) for number in range(PROMPTS)]
    ids = [policy.chat.message_ids([{"role": "user", "content": text}]) for text in prompts]

    async def sample() -> dict[int, Any]:
        requests = requests_for(ids, first_seed=0, weights="base")
        return {g.index: g async for g in engine.generate(requests)}

    done = asyncio.run(sample())
    engine.close()
    return {
        "workload": data["workload"],
        "texts": prompts,
        "prompts": ids,
        "completions": [[done[p * GROUP + g].token_ids for g in range(GROUP)] for p in range(PROMPTS)],
        "logprobs": [[done[p * GROUP + g].logprobs for g in range(GROUP)] for p in range(PROMPTS)],
    }


def make_prompt(tokenizer: Any, tokens: int, number: int) -> str:
    """A question about a list of prices, long enough to fill `tokens` with the chat template around it."""
    text = f"Shop {number + 1} sells these items."
    item = 0
    while (
        len(
            tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
        )
        < tokens - 20
    ):
        item += 1
        text += f" Item {item} costs {(item * 37 + number * 11) % 90 + 10} dollars."
    return text + " Explain step by step how you would find the total price of all items."


def load(settings: Any) -> tuple[Any, Any]:
    import torch

    from rlvr.engines import build_engine
    from rlvr.models import locate_model
    from rlvr.policy import load_policy

    where = locate_model(settings.model.name)
    policy = load_policy(settings, where, torch.device("cpu"))
    return policy, build_engine(settings, policy, where)


def reward_of(index: int) -> float:
    """Not about the text: every group has both outcomes, so every completion has a gradient."""
    return float(index % 2)


def requests_for(prompts: Any, *, first_seed: int, weights: Any) -> list[Any]:
    """A group of completions of every prompt, each with a seed of its own."""
    from rlvr.engines.protocol import GenerationRequest

    return [
        GenerationRequest(
            index=i,
            prompt_ids=tuple(prompts[i // GROUP]),
            seed=first_seed + i,
            max_tokens=MAX_COMPLETION_TOKENS,
            temperature=1.0,
            weights=weights,
        )
        for i in range(PROMPTS * GROUP)
    ]


def groups_of(data: dict[str, Any]) -> list[Any]:
    """The sampled completions as the groups that an update takes."""
    from rlvr.types import Group, Rollout
    from rlvr_verifiers.types import Completion, Score, Task

    tasks = [
        Task(id=str(p), prompt=({"role": "user", "content": text},), verifier="exact", answer="")
        for p, text in enumerate(data["texts"])
    ]
    return [
        Group(
            task=task,
            rollouts=tuple(
                Rollout(
                    task=task,
                    completion=Completion(
                        text="",
                        prompt_ids=tuple(data["prompts"][p]),
                        token_ids=tuple(ids),
                        sampled_logprobs=tuple(data["logprobs"][p][g]),
                        loss_mask=(True,) * len(ids),
                    ),
                    score=Score(value=reward_of(g), passed=bool(reward_of(g)), reason="ok"),
                )
                for g, ids in enumerate(data["completions"][p])
            ),
        )
        for p, task in enumerate(tasks)
    ]


def time_rlvr(data: dict[str, Any], steps: int) -> dict[str, Any]:
    from rlvr.batch import update_batches, with_advantages
    from rlvr.hand_over import HandOver
    from rlvr.learner import Learner
    from rlvr.objectives import OBJECTIVES

    settings = config(data["workload"])
    policy, engine = load(settings)
    learner = Learner(policy, settings.rl.optimizer, total_steps=10, micro_batch_tokens=settings.micro_batch_tokens)
    groups = groups_of(data)
    peak = PeakMemory()

    async def run() -> list[dict[str, float]]:
        hand_over = HandOver(policy, engine, settings, [group.task for group in groups])
        await hand_over(0)
        measured = []
        for step in range(steps + 1):
            requests = requests_for(data["prompts"], first_seed=1000 * step, weights="policy")
            peak.reset()
            started = time.perf_counter()
            generated = [g async for g in engine.generate(requests)]
            rollout_s = time.perf_counter() - started
            rollout_mb = peak.read()
            peak.reset()
            started = time.perf_counter()
            ready = with_advantages(groups, settings.rl, _unused, _unused)
            (batch,) = update_batches(ready, settings.rl, policy.device, _unused, _unused)
            learner.update(batch, OBJECTIVES["clipped"], settings.rl.algorithm)
            update_s = time.perf_counter() - started
            update_mb = peak.read()
            started = time.perf_counter()
            await hand_over(step + 1)
            sync_s = time.perf_counter() - started
            measured.append(
                {
                    "update_s": update_s,
                    "update_peak_mb": update_mb,
                    "rollout_s": rollout_s,
                    "rollout_peak_mb": rollout_mb,
                    "sync_s": sync_s,
                    "step_s": rollout_s + update_s + sync_s,
                    "rollout_tokens": float(sum(len(g.token_ids) for g in generated)),
                }
            )
        hand_over.close()
        return measured[1:]

    measured = asyncio.run(run())
    engine.close()
    return {"steps": measured}


def _unused(_groups: Any) -> Any:
    raise AssertionError("one update per batch without KL needs no further log-probs")


def time_trl(data: dict[str, Any], steps: int, *, gradient_checkpointing: bool = False) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from rlvr.models import locate_model

    where = str(locate_model("smollm2-135m-instruct"))
    peak = PeakMemory()
    measured: list[dict[str, float]] = []
    now: dict[str, float] = {}

    class Clock(TrainerCallback):
        def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
            now["begun"] = time.perf_counter()

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            step_s = time.perf_counter() - now["begun"]
            measured.append(
                {
                    "update_s": step_s - now["rollout_s"],
                    "update_peak_mb": peak.read(),
                    "rollout_s": now["rollout_s"],
                    "rollout_peak_mb": now["rollout_mb"],
                    "step_s": step_s,
                    "rollout_tokens": now["tokens"],
                }
            )

    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16),
        processing_class=AutoTokenizer.from_pretrained(where),
        reward_funcs=lambda completions, **_columns: [reward_of(i % GROUP) for i in range(len(completions))],
        args=GRPOConfig(
            output_dir=f"/tmp/rlvr-step-trl-{os.getpid()}",
            per_device_train_batch_size=GROUP,
            gradient_accumulation_steps=PROMPTS,
            num_generations=GROUP,
            max_completion_length=MAX_COMPLETION_TOKENS,
            gradient_checkpointing=gradient_checkpointing,
            max_steps=steps + 1,
            learning_rate=1e-5,
            use_cpu=True,
            bf16=False,  # the weights are bfloat16 already
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
        ),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in data["texts"]]),
        peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    generate = trainer._generate_single_turn
    fixed = {tuple(ids): group for ids, group in zip(data["prompts"], data["completions"], strict=True)}

    def timed(prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's own generation, timed; then the rollouts that both systems update on are put in its place."""
        peak.reset()
        started = time.perf_counter()
        completion_ids, logprobs, *rest = generate(prompt_ids, *args, **kwargs)
        now["rollout_s"] = time.perf_counter() - started
        now["tokens"] = float(sum(map(len, completion_ids)))
        now["rollout_mb"] = peak.read()
        seen: dict[tuple[int, ...], int] = {}
        replaced = []
        for ids in map(tuple, prompt_ids):
            replaced.append(list(fixed[ids][seen.get(ids, 0)]))
            seen[ids] = seen.get(ids, 0) + 1
        peak.reset()
        return (replaced, logprobs, *rest)

    trainer._generate_single_turn = timed
    trainer.train()
    return {"steps": measured[1:]}


if __name__ == "__main__":
    main()
