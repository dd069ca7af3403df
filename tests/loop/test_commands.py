"""The commands around training: export, evaluation, check and scoring, on a run of the tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlvr.errors import RlvrError
from rlvr.export import export_run
from tests.loop.test_failures import Write, run, write

__all__ = ["write"]  # a fixture


def rlvr(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "rlvr.cli", *arguments], text=True, capture_output=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_an_exported_adapter_and_a_merged_model_are_the_same_policy(
    write: Write, tiny_model_dir: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run(write(), "rl.steps=2")
    said = export_run(folder, tmp_path / "adapter", merge=False, which="last")
    assert said == f"adapter of checkpoint rl-000002 written to {tmp_path / 'adapter'}"
    export_run(folder, tmp_path / "merged", merge=True, which="rl-000002")
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    ids = torch.tensor([[1, 40, 41, 42]])
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
    torch.testing.assert_close(adapted, merged, atol=1e-5, rtol=1e-4)
    assert (adapted - plain).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(tmp_path / "adapter").chat_template
    assert "LoRA adapter for" in (tmp_path / "adapter" / "README.md").read_text()
    assert "Model made from" in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(RlvrError, match="is not empty"):
        export_run(folder, tmp_path / "adapter")
    with pytest.raises(RlvrError, match="no checkpoint is called 'rl-9'; there are best, last"):
        export_run(folder, tmp_path / "other", which="rl-9")
    with pytest.raises(RlvrError, match="is not a run folder"):
        export_run(tmp_path, tmp_path / "other")


def test_eval_of_an_adapter_gives_intervals_and_every_completion(write: Write, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    recipe = write(
        eval={"tasks": [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}], "max_completion_tokens": 5}
    )
    folder = run(recipe, "rl.steps=1")
    out = tmp_path / "samples.parquet"
    printed = rlvr("eval", str(recipe), "--adapter", str(folder / "best"), "--samples", "4", "-o", str(out), "--json")
    result = json.loads(printed.splitlines()[-1])
    assert result["tasks"] == 8
    assert result["pass@1"]["low"] <= result["pass@1"]["value"] <= result["pass@1"]["high"]
    assert result["pass@4"]["value"] >= result["pass@1"]["value"]
    assert pq.read_table(out).num_rows == 32
    assert "give a CONFIG, or --model and --tasks" in rlvr("eval", code=1)
    assert "is not an adapter folder" in rlvr("eval", str(recipe), "--adapter", str(tmp_path), code=1)


def test_check_prints_the_resolved_config_and_a_plan_and_launches_nothing(write: Write, tmp_path: Path) -> None:
    printed = rlvr("check", str(write()))
    assert "clip_high: 0.2" in printed
    assert "optimizer" in printed.lower()
    assert not (tmp_path / "runs").exists()


HELP_WITHOUT_TORCH = """
import sys
sys.argv = ["rlvr", "--help"]
try:
    import rlvr.cli
    rlvr.cli.main()
except SystemExit:
    print("torch" in sys.modules)
"""


def test_help_does_not_import_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP_WITHOUT_TORCH], text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
