"""`rlvr watch`: a run folder shown live in a terminal, by reading it again and again; the run need not be on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rlvr.alarms import ringing
from rlvr.printable import visible
from rlvr.progress import STEPS_IN_ETA, clock, fine_print, headline, split_bar, time_split
from rlvr.run_record import STEP_MARK, RunRecord, alarm_window, read_run

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 48
CURVES = (
    ("reward", "reward/mean"),
    ("accuracy", "accuracy"),
    ("loss", "loss"),
    ("tokens", "completion/tokens_mean"),
    ("entropy", "entropy"),
    ("zero variance", "groups/zero_variance"),
    ("engine gap", "engine_gap"),
)
MOST_REASONS = 5
STALE_STEPS = 5  # a run that says nothing for so many of its steps is pointed out


def watch(path: Path, console: Console, *, every_s: float = 2.0, once: bool = False) -> None:
    """Shows the run until it is finished (or Ctrl-C); `once` prints what there is and returns."""
    if once or not console.is_terminal:
        console.print(view(read_run(path), time.time()))
        return
    with Live(console=console, screen=False, auto_refresh=False) as live:
        while True:
            run = read_run(path)
            live.update(view(run, time.time()), refresh=True)
            if run.summary is not None:
                return
            time.sleep(every_s)


def view(run: RunRecord, now: float) -> RenderableType:
    """Everything about the run on one screen; `now` in seconds since 1970."""
    stages = run.stages
    if not stages:
        return Text(f"{run.name}: no finished step yet")
    steps = run.steps(stages[-1])
    latest = steps[-1]
    numbers = {name: value for name, value in latest.items() if isinstance(value, float)}
    rows: list[RenderableType] = [_title(run, stages[-1], steps, now), Text("   ".join(headline(numbers)))]
    if split := time_split(numbers):
        rows.append(split_bar(split, numbers.get(STEP_MARK)))
    rows.append(Text("   ".join(fine_print(numbers)), style="bright_black"))
    rows.append(_curves(steps))
    if reasons := _reasons(latest):
        rows.append(Text(f"reasons   {reasons}"))
    if run.held_out:
        last = run.held_out[-1]
        shown = "   ".join(f"{h.label} {100 * h.value:.1f} %" for h in run.held_out[-6:])
        rows.append(Text(f"held-out  {shown} [{100 * last.low:.1f}, {100 * last.high:.1f}]"))
    rows += [Text(f"▲ {visible(str(alarm), 600)}", style="red") for alarm in ringing(run.metrics, alarm_window(run))]
    if diagnosis := latest.get("diagnosis"):
        rows.append(Text(f"▸ {visible(str(diagnosis), 600)}", style="yellow"))
    return Panel(Group(*rows), title=Text(visible(run.name, 100)), title_align="left")


def _title(run: RunRecord, stage: str, steps: Sequence[Any], now: float) -> Text:
    latest = steps[-1]
    total = (run.config.get(stage) or {}).get("steps")
    text = Text(f"{stage} {latest['step']}{f'/{total}' if total else ''}", style="bold")
    if run.summary is not None:
        return text.append("   finished", style="green")
    silent = now - latest["time"]
    usual = latest[STEP_MARK]
    text.append(f"   last step {silent:.0f} s ago")
    if silent > max(60.0, STALE_STEPS * usual):
        text.append("   nothing for a long time: evaluating, or stopped?", style="yellow")
    elif total and total > latest["step"]:
        recent = [record[STEP_MARK] for record in steps[-STEPS_IN_ETA:]]
        text.append(f"   about {clock((total - latest['step']) * sum(recent) / len(recent))} of {stage} left")
    return text


def _reasons(latest: Any) -> str:
    """What verifiers said of the last step, the most frequent first."""
    found = sorted(
        ((v, k.removeprefix("reasons/")) for k, v in latest.items() if k.startswith("reasons/") and v > 0), reverse=True
    )
    return "   ".join(f"{visible(name, 40)} {100 * share:.0f} %" for share, name in found[:MOST_REASONS])


def _curves(steps: Sequence[Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for title, name in CURVES:
        values = [record[name] for record in steps if isinstance(record.get(name), float)]
        if len(values) > 1:
            table.add_row(title, Text(sparkline(values), style="cyan"), f"{values[0]:.3g} → {values[-1]:.3g}")
    return table


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The values as a row of at most `width` bars, each the mean of its share of the values; NaN is a blank."""
    count = min(width, len(values))
    cuts = [round(len(values) * i / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    finite = [mean for mean in means if abs(mean) < float("inf")]
    if not finite:
        return " " * count
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    last = len(SPARKS) - 1
    return "".join(SPARKS[round((m - low) / span * last)] if abs(m) < float("inf") else " " for m in means)
