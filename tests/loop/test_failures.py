"""What a user gets wrong, and what breaks on the way: one line each, the state saved, nothing lost."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rlvr.checkpoint import latest_checkpoint
from rlvr.config.load import load_config
from rlvr.errors import RlvrError
from rlvr.train import load_data, train
from rlvr_tasks.errors import TaskError

Write = Callable[..., Path]


@pytest.fixture
def write(tiny_model_dir: Path, tmp_path: Path) -> Write:
    """Writes a recipe over the tiny model: `body` is the verifier's body, `rows` the tasks."""

    def write(
        body: str = "return float(sum(map(ord, completion.content)) % 2)",
        rows: list[dict[str, Any]] | None = None,
        **sections: Any,
    ) -> Path:
        verifier = tmp_path / "judge.py"
        verifier.write_text(f"import os, time\n\n\ndef score(task, completion):\n    {body}\n")
        default = [{"id": f"t{n}", "prompt": f"Say {n}.", "verifier": f"{verifier}:score", "answer": ""} for n in range(8)]
        (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (default if rows is None else rows)))
        config = {
            "model": {"name": str(tiny_model_dir), "dtype": "float32"},
            "adapter": {"rank": 4, "alpha": 8},
            "engine": {"kind": "hf", "max_model_len": 128},
            "verification": {"workers": 1, "deadline_s": 0.5},
            "rl": {
                "algorithm": "grpo",
                "tasks": [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}],
                "steps": 3,
                "prompts_per_step": 2,
                "group_size": 3,
                "max_completion_tokens": 5,
                "optimizer": {"learning_rate": 1e-2},
            },
            "checkpoint": {"every": 1},
            "output_dir": str(tmp_path / "runs"),
            "device": "cpu",
            **sections,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def run(recipe: Path, *overrides: str) -> Path:
    return train(load_config(recipe, overrides), name="run", resume=False, console=Console(quiet=True))


def metrics(run_folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def test_a_verifier_that_hangs_costs_its_deadline_and_scores_zero(write: Write) -> None:
    folder = run(write("time.sleep(3600 if sum(map(ord, completion.content)) % 2 else 0); return 1.0"), "rl.steps=1")
    (record,) = metrics(folder)
    assert record["reasons/timeout"] > 0
    assert record["rollouts/infra_failures"] == 0


def test_a_verifier_that_raises_stops_the_run_with_its_own_words(write: Write) -> None:
    recipe = write("raise ValueError('the grader has a bug')")
    with pytest.raises(RlvrError, match=r"the verifier failed on 6 of 6 completions.*the grader has a bug"):
        run(recipe)


def test_a_verifier_that_kills_its_process_scores_zero(write: Write) -> None:
    folder = run(write("os._exit(3) if sum(map(ord, completion.content)) % 2 else None; return 1.0"), "rl.steps=1")
    assert metrics(folder)[0]["reasons/crash"] > 0


def test_an_engine_that_dies_leaves_the_last_step_saved(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr.engines.hf import HfEngine

    sample = HfEngine._sample

    def dies(self: HfEngine, batch: Any) -> Any:
        if self.policy_version == 2:
            raise RlvrError("the engine died in a step: out of memory")
        return sample(self, batch)

    monkeypatch.setattr(HfEngine, "_sample", dies)
    recipe = write()
    with pytest.raises(RlvrError, match="the engine died in a step"):
        run(recipe)
    saved = latest_checkpoint(load_config(recipe).output_dir / "run" / "checkpoints")
    assert saved is not None
    assert saved.step == 2


@pytest.mark.parametrize("algorithm", ["grpo", "{preset: dapo, overlong_buffer_tokens: 0, max_sampling_rounds: 2}"])
def test_nothing_to_learn_ends_with_the_histogram(write: Write, algorithm: str) -> None:
    with pytest.raises(RlvrError, match=r"no group had differing rewards for 2 steps in a row.*Scores of the last step"):
        run(write("return 0.0"), f"rl.algorithm={algorithm}", "rl.max_empty_steps=2")


def test_a_full_disk_leaves_the_last_checkpoint_intact(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    save, calls = torch.save, []

    def fills_up(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", fills_up)
    recipe = write()
    with pytest.raises(RlvrError, match=r"could not be written .*No space left.* the last one, rl-000001, is intact"):
        run(recipe)
    folder = load_config(recipe).output_dir / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["rl-000001"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=/no/such/model"], r"model\.name: '/no/such/model' does not exist"),
        (["rl.tasks.0.args.path=/no/such/file.jsonl"], r"/no/such/file\.jsonl"),
        (["rl.max_prompt_tokens=3"], r"rl\.max_prompt_tokens=3: 1000 tasks in a row have longer prompts"),
        (["engine.max_model_len=20"], r"engine\.max_model_len"),
        (["adapter.target_modules=[nope]"], r"adapter\.target_modules"),
        (["adapter.kind=full", "rl.algorithm={preset: grpo, kl_coef: 0.1}"], "full fine-tuning keeps none"),
        (["device=cuda"], "device=cuda: this machine has no usable CUDA device"),
    ],
)
def test_mistakes_in_a_config_are_one_line(write: Write, overrides: list[str], message: str) -> None:
    import torch

    if "device=cuda" in overrides and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises((RlvrError, TaskError), match=message):
        run(write(), *overrides)


def test_an_empty_data_set_is_refused(write: Write) -> None:
    with pytest.raises(TaskError, match=r"tasks\.jsonl"):
        run(write(rows=[]))


def test_golds_that_do_not_parse_are_refused_with_their_rows(write: Write) -> None:
    rows = [{"id": f"row-{n}", "prompt": "?", "verifier": "math", "answer": "" if n == 3 else "7"} for n in range(5)]
    with pytest.raises(TaskError, match="row-3"):
        run(write(rows=rows))


def test_full_fine_tuning_learns_and_exports(write: Write) -> None:
    folder = run(write(), "adapter.kind=full", "rl.steps=2", "rl.optimizer.learning_rate=1e-3")
    saved = latest_checkpoint(folder / "checkpoints")
    assert saved is not None
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(saved.adapter)


@pytest.mark.parametrize("part", ["tasks", "retention"])
def test_evaluated_tasks_of_two_files_must_not_share_ids(write: Write, tmp_path: Path, part: str) -> None:
    sources: list[dict[str, Any]] = []
    for name in ("gsm", "math"):
        rows = [{"id": str(n), "prompt": f"{name} {n}?", "verifier": "exact", "answer": "1"} for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append({"source": "jsonl", "args": {"path": str(tmp_path / f"{name}.jsonl")}})
    recipe = write(eval={"max_completion_tokens": 16, "tasks": sources[:1], part: sources})
    with pytest.raises(RlvrError, match=rf"eval\.{part}: 3 ids are each those of several tasks"):
        load_data(load_config(recipe))


def test_a_gate_whose_number_could_not_be_measured_is_one_line(write: Write, tmp_path: Path) -> None:
    """The verifier fails on one sample of every task after sft, so nothing is known of pass@2; that of the base is not taken for it."""
    body = f"""seen = '{tmp_path}/seen/' + task.id
    os.makedirs(seen, exist_ok=True)
    calls = len(os.listdir(seen))
    os.mkdir(f'{{seen}}/{{calls}}')
    if calls == 2:
        raise ValueError('a bug')
    return 1.0"""
    rows = [
        {
            "id": f"t{n}",
            "prompt": "?",
            "verifier": f"{tmp_path}/judge.py:score",
            "answer": "",
            "info": {"demonstration": "2"},
        }
        for n in range(4)
    ]
    source = {"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}
    recipe = write(
        body,
        rows,
        stages=["sft", "rl"],
        sft={"tasks": [source], "steps": 1, "batch_size": 2},
        eval={"tasks": [source], "samples": 2, "max_completion_tokens": 5},
        verification={"workers": 1, "deadline_s": 20},
        continue_if={"sft": "eval.pass@2 >= 0"},
    )
    with pytest.raises(RlvrError, match=r"continue_if\.sft: there is no eval\.pass@2, because the verifier failed"):
        run(recipe)
    saved = latest_checkpoint(load_config(recipe).output_dir / "run" / "checkpoints")
    assert saved is not None
    assert saved.stage == "sft"


def test_a_best_policy_that_cannot_be_written_costs_no_step(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlvr.policy import Policy

    save = Policy.save

    def full(self: Policy, folder: Path) -> None:
        save(self, folder)
        if "best" in folder.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Policy, "save", full)
    source = {"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}
    recipe = write(eval={"tasks": [source], "max_completion_tokens": 5, "base": False}, checkpoint={"every": 9})
    with pytest.raises(RlvrError, match="disk full: the best policy so far was not written"):
        run(recipe, "rl.steps=1")
    saved = latest_checkpoint(load_config(recipe).output_dir / "run" / "checkpoints")
    assert saved is not None
    assert saved.state()["best"] is None
    assert not list(saved.path.parents[1].glob(".best*"))


def test_an_interruption_before_the_run_starts_leaves_no_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlvr.train.fingerprint", interrupted)
    recipe = write()
    with pytest.raises(KeyboardInterrupt):
        run(recipe)
    assert not (load_config(recipe).output_dir / "run").exists()


def test_the_engine_sleeps_while_the_learner_computes(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forward passes of a KL in the reward need the memory that a sleeping engine gives back."""
    from rlvr.engines.hf import HfEngine
    from rlvr.stages.rl import RlLoop

    events: list[str] = []
    ref_logprobs = RlLoop._ref_logprobs  # pyright: ignore[reportPrivateUsage]

    async def noted(self: HfEngine) -> None:
        events.append("sleep")

    def computed(self: RlLoop, groups: Any) -> Any:
        events.append("reference")
        return ref_logprobs(self, groups)

    monkeypatch.setattr(HfEngine, "sleep", noted)
    monkeypatch.setattr(RlLoop, "_ref_logprobs", computed)
    run(write(), "rl.steps=1", "rl.algorithm={preset: grpo, kl_coef: 0.1, kl_placement: reward}")
    assert events[:2] == ["sleep", "reference"]
