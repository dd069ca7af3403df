"""Our verifier in a real TRL GRPOTrainer: one optimizer step on the tiny model, with the rewards that the verifier gives."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest

from rlvr_verifiers import Completion, Task, score_now
from rlvr_verifiers.bridges.trl import reward_function

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")

PATTERN = {"mode": "search"}


def test_a_verifier_is_a_reward_function_in_one_line(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Imported as on a machine without vLLM: that import takes far longer than the test.
    monkeypatch.setattr(importlib.import_module("trl.import_utils"), "is_vllm_available", lambda min_version=None: False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=DeprecationWarning)
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer

    reward = reward_function("regex", answer="solution", verifier_args=PATTERN, workers=1)
    calls: list[tuple[list[Any], list[float | None]]] = []

    def recorded(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        rewards = reward(prompts, completions, **columns)
        calls.append((completions, rewards))
        return rewards

    rows = [{"prompt": [{"role": "user", "content": f"Say {n}."}], "solution": "[a-m]"} for n in range(2)]
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        max_steps=1,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    trainer = GRPOTrainer(str(tiny_model_dir), reward_funcs=recorded, args=config, train_dataset=Dataset.from_list(rows))
    trainer.train()

    ((completions, rewards),) = calls
    assert len(rewards) == 4
    texts = [completion[0]["content"] for completion in completions]
    task = Task(id="t", prompt=(), verifier="regex", answer="[a-m]", verifier_args=PATTERN)
    assert rewards == [score_now(task, Completion(text=text)).value for text in texts]
    assert set(rewards) <= {0.0, 1.0}
    logged = next(row for row in trainer.state.log_history if "reward" in row)
    assert logged["reward"] == pytest.approx(sum(filter(None, rewards)) / 4)
