"""Checkpoints that continue a run exactly: written whole or not at all, the newest found by name.

A checkpoint is a folder `<stage>-<step>` with

    adapter/      the trained weights, loadable by peft and vLLM as they are (full fine-tuning: the whole model)
    learner.pt    float32 masters, optimizer, learning-rate schedule; tensors and plain values only
    state.json    task cursor, policy version, carried-over groups, proof-of-sync state, best evaluation so far
    rng.json      states of the random generators

It is written under a temporary name, flushed, and renamed: a folder that has its name is complete. Sampler seeds need no state:
each is a hash of run seed, step, task and sample (rlvr/sampling.py).
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlvr.errors import RlvrError

if TYPE_CHECKING:
    from rlvr.learner import Learner
    from rlvr.policy import Policy

_NAME = re.compile(r"^(?P<stage>[a-z_]+)-(?P<step>\d{6})$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path
    stage: str
    step: int
    """Steps of the stage that are behind it."""

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    def state(self) -> dict[str, Any]:
        return json.loads((self.path / "state.json").read_text(encoding="utf-8"))


def save_checkpoint(
    root: Path, *, stage: str, step: int, policy: Policy, learner: Learner, state: Mapping[str, Any]
) -> Checkpoint:
    """Writes one; raises `RlvrError` when the disk is full or not writable, leaving earlier checkpoints untouched."""
    final = root / f"{stage}-{step:06d}"
    draft = root / f".{final.name}.writing"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        policy.save(draft / "adapter")
        torch.save(learner.state(), draft / "learner.pt")
        (draft / "state.json").write_text(json.dumps(state), encoding="utf-8")
        (draft / "rng.json").write_text(json.dumps(_rng_state()), encoding="utf-8")
        _flush(draft)
        _put_in_place(draft, final)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(draft, ignore_errors=True)
        earlier = latest_checkpoint(root)
        intact = f"the last one, {earlier.path.name}, is intact" if earlier else "there is no earlier one"
        raise RlvrError(
            f"{final}: the checkpoint could not be written ({' '.join(str(error).split())[:200]}); {intact}. Free some space and "
            "continue with --resume"
        ) from None
    return Checkpoint(path=final, stage=stage, step=step)


def restore_checkpoint(checkpoint: Checkpoint, policy: Policy, learner: Learner) -> dict[str, Any]:
    """Puts weights, optimizer and generators back; returns the stage's own state."""
    policy.load(checkpoint.adapter)
    try:
        saved = torch.load(checkpoint.path / "learner.pt", map_location="cpu", weights_only=True)
        state = checkpoint.state()
        rng = json.loads((checkpoint.path / "rng.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise RlvrError(
            f"{checkpoint.path}: cannot be read ({' '.join(str(error).split())[:200]}); remove this folder to resume from the one before"
        ) from None
    learner.restore(saved)
    _restore_rng(rng)
    return state


def checkpoints(root: Path) -> list[Checkpoint]:
    """All complete ones, oldest first within their stage, stages in the order they were written."""
    found = [
        Checkpoint(path=path, stage=match["stage"], step=int(match["step"]))
        for path in (root.iterdir() if root.is_dir() else ())
        if path.is_dir() and (match := _NAME.match(path.name))
    ]
    # Not the folder's own time, which changes when anything in it does.
    return sorted(found, key=lambda c: ((c.path / "state.json").stat().st_mtime_ns, c.step))


def latest_checkpoint(root: Path) -> Checkpoint | None:
    found = checkpoints(root)
    return found[-1] if found else None


def prune_checkpoints(root: Path, keep_last: int) -> None:
    """Removes all but the newest `keep_last`."""
    for old in checkpoints(root)[:-keep_last]:
        _remove(old.path)


def replace_folder(draft: Path, target: Path) -> None:
    """Gives `draft` the name and place of `target`, whole or not at all (the best adapter so far)."""
    _flush(draft)
    _put_in_place(draft, target)


def _put_in_place(draft: Path, final: Path) -> None:
    """Gives a finished folder its name; one that had the name before is kept until the new one is there."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    draft.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Takes away the name first: a removal that is cut short leaves nothing that looks like a checkpoint."""
    doomed = folder.with_name(f".{folder.name}.removing")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _rng_state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
    }


def _restore_rng(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([torch.tensor(s, dtype=torch.uint8) for s in state["cuda"]])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
