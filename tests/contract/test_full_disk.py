"""A disk that takes no more: one line, nothing half written left behind, and hand-overs that go where there is room."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rlvr.checkpoint import save_checkpoint
from rlvr.config.schema import OptimizerConfig
from rlvr.engines.hf import HfEngine
from rlvr.errors import RlvrError
from rlvr.hand_over import HandOver
from rlvr.learner import Learner
from rlvr.policy import Policy, load_policy
from tests.contract.test_logprobs import config_for


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return load_policy(config_for(tiny_model_dir), tiny_model_dir, torch.device("cpu"))


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to make a file longer, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_checkpoint_whose_weights_do_not_fit_is_one_line_and_leaves_nothing(policy: Policy, tmp_path: Path) -> None:
    learner = Learner(policy, OptimizerConfig(learning_rate=1e-3), total_steps=1, micro_batch_tokens=64)
    with (
        files_of_at_most(20_000),
        pytest.raises(RlvrError, match=r"rl-000001: the checkpoint could not be written .*too large"),
    ):
        save_checkpoint(tmp_path, stage="rl", step=1, policy=policy, learner=learner, state={})
    assert list(tmp_path.iterdir()) == []


def test_a_hand_over_that_does_not_fit_is_one_line(policy: Policy, tiny_model_dir: Path) -> None:
    config = config_for(tiny_model_dir)
    engine = HfEngine(policy, config.engine)
    hand = HandOver(policy, engine, config, [])
    try:
        with (
            files_of_at_most(20_000),
            pytest.raises(RlvrError, match=r"cannot write the policy for the engine to .*too large"),
        ):
            asyncio.run(hand(1))
    finally:
        hand.close()
        engine.close()


@pytest.mark.parametrize(("free", "in_memory"), [(1_000, False), (10_000_000, True)])
def test_hand_overs_go_beside_the_runs_where_memory_is_short(
    policy: Policy, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, in_memory: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    config = config_for(tiny_model_dir).model_copy(update={"output_dir": tmp_path})
    hand = HandOver(policy, None, config, [])  # type: ignore[arg-type] - nothing is handed over
    assert hand.folder.path.parent == (Path("/dev/shm") if in_memory else tmp_path)
    hand.close()
    assert list(tmp_path.iterdir()) == []
