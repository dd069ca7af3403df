"""In float32 nothing hides behind rounding: whole weights, adapters and a 4-bit base arrive in vLLM exactly.

In a process of its own, since the session's engine lives in this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

EXACT = 1e-4


@pytest.fixture(scope="module")
def found(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("snapshots")
    done = subprocess.run(
        [sys.executable, "-m", "tests.loop.tiny_vllm", str(tiny_model_dir), str(scratch)],
        capture_output=True,
        text=True,
        env={**os.environ, "RLVR_CACHE": str(scratch)},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", [1, 2])
def test_full_weights_all_arrive(found: dict[str, float], version: int) -> None:
    """The tied LM head too: vLLM's own reload leaves its packed copy as it was."""
    assert found[f"full none {version}"] < EXACT


def test_the_replaced_base_is_not_sampled_from(found: dict[str, str]) -> None:
    assert "full fine-tuning has replaced the base" in found["refusal"]


@pytest.mark.parametrize("what", ["base", 1, 2])
def test_adapters_arrive(found: dict[str, float], what: str | int) -> None:
    assert found[f"lora none {what}"] < EXACT


@pytest.mark.parametrize("what", ["base", 1, 2])
def test_the_engine_samples_from_the_learners_4_bit_base(found: dict[str, float], what: str | int) -> None:
    assert found[f"lora nf4 {what}"] < EXACT


def test_a_cache_too_small_for_all_changes_no_completion(found: dict[str, Any]) -> None:
    """vLLM then takes requests out of the batch and computes them again later; their seeds go on where they were."""
    assert found["preempted"] > 0
    assert found["crowded"] == found["roomy"]
    assert max(map(len, found["roomy"])) > 64


def test_an_engine_closed_while_it_samples_lets_go_in_silence(found: dict[str, Any]) -> None:
    assert found["closed while sampling"] == "nothing"
