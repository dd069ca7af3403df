"""An evaluation during RL that is cut off costs no step, and is taken when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlvr.checkpoint import latest_checkpoint
from rlvr.config.load import load_config
from rlvr.errors import RlvrError
from rlvr.interrupt import Interrupted
from rlvr.sampling import Sampler
from rlvr.train import train
from tests.loop.test_failures import Write, write
from tests.loop.test_resume import trail

__all__ = ["write"]  # a fixture


@pytest.fixture
def recipe(write: Write, tmp_path: Path) -> Path:
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    return write(
        eval={"tasks": tasks, "retention": tasks, "max_completion_tokens": 5, "every": 1, "base": False},
        checkpoint={"every": 10},
        verification={"workers": 1, "deadline_s": 20},
    )


def run(recipe: Path, name: str, *, resume: bool = False) -> Path:
    return train(load_config(recipe, ["rl.steps=2"]), name=name, resume=resume, console=Console(quiet=True))


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Makes the n-th evaluation end in Ctrl-C or in a failure, once."""

    def arm(number: int, how: str) -> None:
        sample, taken = Sampler.sample, []

        async def sampled(self: Sampler, tasks: Any, plan: Any, occasion: str) -> Any:
            if occasion == "evaluation":
                taken.append(1)
                if len(taken) == number and how == "failure":
                    raise RlvrError("the engine died in an evaluation")
                self.stop.requested |= len(taken) == number
            return await sample(self, tasks, plan, occasion)

        monkeypatch.setattr(Sampler, "sample", sampled)

    return arm


@pytest.mark.parametrize(
    ("number", "step", "how"),
    [(1, 1, "Ctrl-C"), (3, 2, "failure")],
    ids=["on the way", "last, after the held-out tasks"],
)
def test_no_step_is_lost_and_the_evaluation_is_made_up_for(
    recipe: Path, cut_off: Callable[[int, str], None], number: int, step: int, how: str
) -> None:
    straight = run(recipe, "straight")
    cut_off(number, how)
    with pytest.raises(Interrupted if how == "Ctrl-C" else RlvrError):
        run(recipe, "cut")
    saved = latest_checkpoint(straight.parent / "cut" / "checkpoints")
    assert saved is not None
    assert saved.step == step
    cut = run(recipe, "cut", resume=True)
    assert trail(cut) == trail(straight)
    assert [e["label"] for e in summary(cut)["evaluations"]] == ["rl 1", "rl 2"]
    assert summary(cut) == summary(straight)
    for file in ("best/adapter_model.safetensors", "checkpoints/rl-000002/adapter/adapter_model.safetensors"):
        assert (cut / file).read_bytes() == (straight / file).read_bytes()
