"""What an engine cannot run is said before it starts, and a start that fails is one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rlvr.config.load import parse_config
from rlvr.config.schema import EngineConfig
from rlvr.engines import build_engine, vllm_environment
from rlvr.errors import RlvrError

Started = type("Started", (Exception,), {})


@pytest.mark.parametrize(
    ("device", "dtype", "kind", "refused"),
    [
        ("cuda", "float32", "lora", True),
        ("cuda", "bfloat16", "lora", False),
        ("cuda", "float32", "full", False),
        ("cpu", "float32", "lora", False),
    ],
)
def test_adapters_in_float32_are_refused_on_cuda(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: str, kind: str, refused: bool
) -> None:
    def started(*_: Any, **__: Any) -> Any:
        raise Started

    monkeypatch.setattr("rlvr.engines.vllm.VllmEngine", started)
    config = parse_config({"model": {"name": "m", "dtype": dtype}, "adapter": {"kind": kind}, "stages": []})
    policy = SimpleNamespace(device=SimpleNamespace(type=device), chat=SimpleNamespace(stop_ids=(2,)))
    with pytest.raises(
        RlvrError if refused else Started, match="use model.dtype=bfloat16, or engine.kind=hf" if refused else None
    ):
        build_engine(config, cast(Any, policy), Path("m"))


def test_a_failed_assertion_of_vllm_is_one_line_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm")

    def fails(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(vllm_environment, "_start", fails)
    with pytest.raises(
        RlvrError, match=r"vLLM does not start with m: AssertionError in test_engine_start\.py:.*raise"
    ) as caught:
        vllm_environment.start("m", EngineConfig(), dtype="float32", adapters=None, seed=0, revision=None)
    assert "\n" not in str(caught.value)
