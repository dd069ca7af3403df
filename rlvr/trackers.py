"""Where metrics go besides metrics.jsonl: TensorBoard and Weights & Biases, both optional.

Steps count from 1 in every stage, so metric names arrive with their stage in front (`rl/reward/mean`) and each stage has its own
curves.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from rlvr.errors import RlvrError
from rlvr.redaction import Redactor


class Tracker(Protocol):
    """Takes the metrics of each step. `close` may be called once, after the last `log`."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoardTracker:
    """Event files in `<run>/tensorboard`; needs no TensorFlow and no torch."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise _missing("tensorboard", error) from None
        self._writer = Writer(str(folder / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbTracker:
    """One W&B run, named like the run folder. Without credentials it records offline into the run folder and never asks."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports] - optional
        except ImportError as error:
            raise _missing("wandb", error) from None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rlvr"),
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            mode=wandb_mode(os.environ),
            settings=wandb.Settings(disable_code=True, disable_git=True, save_code=False, console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        # Not wandb's own step, which must never fall and would lose the second stage.
        self._run.log({**metrics, "step": step})

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}


class _Guarded:
    """A tracker whose failure is said once and does not stop the run: metrics.jsonl has everything."""

    def __init__(self, name: str, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self._name = name
        self._tracker: Tracker | None = tracker
        self._warn = warn

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._tracker is None:
            return
        try:
            self._tracker.log(step, metrics)
        except Exception as error:
            self._tracker = None
            self._warn(f"{self._name} failed at step {step} and is switched off ({error}); metrics.jsonl goes on")

    def close(self) -> None:
        if self._tracker is None:
            return
        try:
            self._tracker.close()
        except Exception as error:
            self._warn(f"{self._name} could not be closed ({error}); metrics.jsonl is complete")


def open_trackers(
    names: Sequence[str], folder: Path, config: Mapping[str, Any], *, warn: Callable[[str], None]
) -> tuple[Tracker, ...]:
    """Opens the trackers a config names; `config` is sent to them without secrets, `warn` is told when one fails later.

    Raises RlvrError for an unknown name or a package that is not installed.
    """
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise RlvrError(f"tracking.trackers: no tracker is called {unknown[0]!r}; there are {', '.join(TRACKERS)}")
    clean = Redactor().value(config)
    return tuple(_Guarded(name, TRACKERS[name](folder, clean), warn) for name in names)


def wandb_mode(environment: Mapping[str, str]) -> Literal["online", "offline"] | None:
    """None (wandb reads WANDB_MODE itself) where that is set; else offline where wandb would stop and ask for credentials."""
    if environment.get("WANDB_MODE"):
        return None
    if environment.get("WANDB_API_KEY"):
        return "online"
    try:
        hosts = netrc.netrc(environment.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return "offline"
    return "online" if any("wandb" in host for host in hosts) else "offline"


def _missing(package: str, error: ImportError) -> RlvrError:
    return RlvrError(
        f"tracking.trackers names {package}, which cannot be imported ({error}): run `pip install 'rlvr[track]'`"
    )
