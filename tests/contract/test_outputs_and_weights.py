"""Mistyped outputs are found before anything is sampled, and damaged or foreign weights are told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlvr.cli import app
from rlvr.commands import evaluate, pairs
from rlvr.config.load import parse_config
from rlvr.config.schema import AdapterConfig
from rlvr.errors import RlvrError
from rlvr.policy import load_policy
from rlvr.preference.from_rollouts import PairRule
from tests.contract.test_logprobs import CPU, config_for


class Sampled(Exception):
    """Raised in the place of sampling: it was reached."""


def sampling(*_: Any, **__: Any) -> Any:
    raise Sampled


def evaluated(output: Path) -> None:
    held_out = {"tasks": [{"source": "arithmetic", "args": {"size": 2}}]}
    evaluate.run_evaluation(parse_config({"model": {"name": "m"}, "stages": [], "eval": held_out}), output)


def paired(output: Path) -> None:
    pairs.make_dataset(
        pairs.Request(
            config=Path("configs/demo.yaml"),
            overrides=["rl.tasks.0.weight=3"],  # a share of RL's batches, which is no mistake here
            model=None,
            adapter=None,
            tasks=None,
            limit=2,
            samples=2,
            temperature=None,
            verifier=None,
            verifier_args=None,
            kind="pairs",
            rule=PairRule(margin=0.0, same_length=None, per_prompt=1),
            output=output,
        )
    )


@pytest.mark.parametrize("made", [evaluated, paired])
def test_an_output_is_tried_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], None]
) -> None:
    for module in (evaluate, pairs):
        monkeypatch.setattr(module, "sample_and_score", sampling)
    (tmp_path / "file").write_text("")
    with pytest.raises(RlvrError, match=r"--output: .*file/x\.jsonl cannot be written"):
        made(tmp_path / "file" / "x.jsonl")
    with pytest.raises(Sampled):
        made(tmp_path / "new" / "x.jsonl")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_is_no_output_of_eval(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"cannot be written .*directory"):
        evaluated(tmp_path)


def test_a_file_is_no_output_of_export(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = CliRunner().invoke(app, ["export", str(tmp_path), "-o", str(tmp_path / "file")])
    assert said.exit_code == 2
    assert "is a file" in said.output


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"\0" * len(data)])
def test_damaged_weights_are_told(tiny_model_dir: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    policy = load_policy(config_for(tiny_model_dir), tiny_model_dir, CPU)
    policy.save(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RlvrError, match=r"adapter_model\.safetensors cannot be read: .*copy it again"):
        policy.load(tmp_path)


def test_whole_weights_of_another_size_are_told(tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    other = AutoConfig.from_pretrained(tiny_model_dir, hidden_size=32, intermediate_size=64, head_dim=16)
    AutoModelForCausalLM.from_config(other).save_pretrained(tmp_path / "other")
    config = config_for(tiny_model_dir)
    full = config.model_copy(update={"adapter": AdapterConfig(kind="full", init_from=tmp_path / "other")})
    with pytest.raises(RlvrError, match=r"other: its weights do not fit this model: .*size mismatch.* check model\.name"):
        load_policy(full, tiny_model_dir, CPU)
