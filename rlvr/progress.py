"""What a stage shows while it runs: a live panel on a terminal, one plain line a step elsewhere (pipes, CI logs).

Text that may stem from a model or a file passes through `visible`, and none of it is ever read as markup.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlvr.printable import visible

STEPS_IN_ETA = 20
SPLIT_WIDTH = 20
LONGEST_NOTE_LINE = 2000
PHASES = {"rollout": "cyan", "verify": "magenta", "update": "green", "sync": "yellow", "other": "bright_black"}


class Progress:
    """Shows one stage of `total_steps` steps; a context manager. `console` is standard error unless given."""

    _shown: Progress | None = None  # the one inside its `with`, so that `say` writes above it

    def __init__(self, stage: str, total_steps: int, console: Console | None = None) -> None:
        self.stage = stage
        self.total_steps = total_steps
        self.console = console or Console(stderr=True)
        self._metrics: Mapping[str, float] = {}
        self._step = 0
        self._diagnosis: str | None = None
        self._started = self._last = time.monotonic()
        self._durations: deque[float] = deque(maxlen=STEPS_IN_ETA)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._started = self._last = time.monotonic()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self._panel,
                refresh_per_second=2,
                # Output that goes to a file stays there; on a terminal it appears above the panel.
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start(refresh=True)
        Progress._shown = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        Progress._shown = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def step(self, step: int, metrics: Mapping[str, float], diagnosis: str | None = None) -> None:
        """Step number `step` (from 1) is done."""
        now = time.monotonic()
        self._durations.append(now - self._last)
        self._last = now
        self._step, self._metrics, self._diagnosis = step, dict(metrics), diagnosis
        if self._live is not None:
            self._live.refresh()
            return
        line = f"{self.stage} {step}/{self.total_steps} | {' | '.join(self._facts())}"
        self._print(line)
        if diagnosis is not None:
            self._print(f"  diagnosis: {_one_line(diagnosis)}")

    def note(self, text: str) -> None:
        """Prints a message above the panel; it may have several lines."""
        for line in text.splitlines():
            self._print(visible(line, LONGEST_NOTE_LINE))

    @staticmethod
    def say(text: str) -> None:
        """`note` of the stage being shown, or a plain message between stages."""
        (Progress._shown or Progress("", 0)).note(text)

    def _print(self, line: str) -> None:
        # `soft_wrap` and no highlighting: a line of a log stays one line, and is written as it is.
        self.console.print(Text(line), soft_wrap=True, highlight=False)

    def _eta_s(self) -> float | None:
        if not self._durations:
            return None
        return (self.total_steps - self._step) * sum(self._durations) / len(self._durations)

    def _facts(self) -> list[str]:
        split = " ".join(f"{phase} {100 * share:.0f} %" for phase, share in time_split(self._metrics))
        eta = self._eta_s()
        return [*headline(self._metrics), *([split] if split else []), f"ETA {clock(eta)}"]

    def _panel(self) -> RenderableType:
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        head.add_row(
            Text(self.stage, style="bold"),
            ProgressBar(total=max(1, self.total_steps), completed=self._step),
            f"{self._step}/{self.total_steps}   {clock(time.monotonic() - self._started)}   ETA {clock(self._eta_s())}",
        )
        rows: list[RenderableType] = [head]
        if self._metrics:
            rows.append(Text("   ".join(headline(self._metrics))))
        if split := time_split(self._metrics):
            rows.append(split_bar(split, self._metrics.get("time/step_s")))
        if detail := fine_print(self._metrics):
            rows.append(Text("   ".join(detail), style="bright_black"))
        if self._diagnosis is not None:
            rows.append(Text(f"▸ {_one_line(self._diagnosis)}", style="yellow"))
        return Group(*rows)


def headline(metrics: Mapping[str, float]) -> list[str]:
    """The numbers to look at first, of those that are there."""
    first = ("reward/mean", "reward {:.3f}", 1.0) if "reward/mean" in metrics else ("loss", "loss {:.4f}", 1.0)
    shown = [
        first,
        ("accuracy", "accuracy {:.1f} %", 100.0),
        ("reward/accuracy", "{:.0f} % preferred", 100.0),
        ("reward/margin", "margin {:.2f}", 1.0),
        ("completion/tokens_mean", "{:.0f} tokens", 1.0),
        ("tokens_per_s", "{:.0f} tok/s", 1.0),
        ("groups/waste_fraction", "waste {:.0f} %", 100.0),
    ]
    return _formatted(metrics, shown)


def fine_print(metrics: Mapping[str, float]) -> list[str]:
    """The numbers to look at when something is wrong."""
    shown = [
        *([("loss", "loss {:.4f}", 1.0)] if "reward/mean" in metrics else []),  # else it stands in the headline
        ("grad_norm", "grad {:.3g}", 1.0),
        ("learning_rate", "lr {:.2g}", 1.0),
        ("entropy", "entropy {:.2f}", 1.0),
        ("kl", "kl {:.4f}", 1.0),
        ("engine_gap", "engine gap {:.3f}", 1.0),
    ]
    return _formatted(metrics, shown)


def time_split(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Share of the step's wall time in each phase, in order; empty where nothing was timed."""
    spent = {phase: metrics.get(f"time/{phase}_s", 0.0) for phase in PHASES if phase != "other"}
    known = sum(spent.values())
    if not known > 0:  # nothing timed, or NaN
        return []
    total = max(known, metrics.get("time/step_s", 0.0))
    spent["other"] = total - known
    return [(phase, seconds / total) for phase, seconds in spent.items() if seconds / total >= 0.005]


def split_bar(split: Iterable[tuple[str, float]], step_s: float | None) -> Text:
    """`time_split` as a coloured bar with its legend."""
    bar, legend = Text(), Text()
    for phase, share in split:
        bar.append("█" * round(share * SPLIT_WIDTH), style=PHASES[phase])
        legend.append(f"  {phase} ", style=PHASES[phase]).append(f"{100 * share:.0f} %")
    if step_s is not None:
        legend.append(f"   {step_s:.1f} s/step")
    return bar.append_text(legend)


def _formatted(metrics: Mapping[str, float], shown: Iterable[tuple[str, str, float]]) -> list[str]:
    return [form.format(scale * metrics[name]) for name, form, scale in shown if name in metrics]


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()), LONGEST_NOTE_LINE)


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
