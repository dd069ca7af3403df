"""The display: plain lines in a pipe, a live panel on a terminal, harmless in both."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from rlvr.progress import Progress, time_split

METRICS = {
    "reward/mean": 0.4125,
    "accuracy": 0.38,
    "completion/tokens_mean": 41.6,
    "tokens_per_s": 312.4,
    "groups/waste_fraction": 0.125,
    "time/rollout_s": 4.0,
    "time/verify_s": 0.5,
    "time/update_s": 3.0,
    "time/sync_s": 0.5,
    "time/step_s": 10.0,
    "grad_norm": 0.31,
}


def pipe() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=80), stream


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(
        file=stream, force_terminal=True, color_system="truecolor", width=100, height=30, _environ={"TERM": "xterm"}
    ), stream


def test_a_pipe_gets_one_plain_line_a_step() -> None:
    console, stream = pipe()
    with Progress("rl", 60, console) as progress:
        progress.step(12, METRICS, "7 of 8 groups are all wrong")
        progress.step(13, METRICS)
    first, diagnosis, second = stream.getvalue().splitlines()
    assert first.startswith(
        "rl 12/60 | reward 0.412 | accuracy 38.0 % | 42 tokens | 312 tok/s | waste 12 % | rollout 40 % verify 5 %"
    )
    assert re.search(r"update 30 % sync 5 % other 20 % \| ETA \d+:\d\d$", first)
    assert diagnosis == "  diagnosis: 7 of 8 groups are all wrong"
    assert second.startswith("rl 13/60")
    assert "\x1b" not in stream.getvalue()


def test_supervised_steps_show_their_loss() -> None:
    console, stream = pipe()
    with Progress("sft", 5, console) as progress:
        progress.step(1, {"loss": 1.25, "learning_rate": 2e-4})
    assert stream.getvalue().startswith("sft 1/5 | loss 1.2500 | ETA ")


def test_a_terminal_gets_a_panel_with_notes_above_it() -> None:
    console, stream = terminal()
    with Progress("rl", 60, console) as progress:
        progress.note("checkpoint written")
        progress.step(12, METRICS, "the line")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    for part in ("12/60", "reward 0.412", "accuracy 38.0 %", "rollout 40 %", "10.0 s/step", "grad 0.31", "▸ the line"):
        assert part in shown
    assert shown.index("checkpoint written") < shown.rindex("12/60")


def test_eta_follows_the_pace_and_starts_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 60.0, 120.0])
    monkeypatch.setattr("rlvr.progress.time.monotonic", lambda: next(clock))
    console, stream = pipe()
    with Progress("rl", 100, console) as progress:
        progress.step(41, {})  # resumed at 40
        progress.step(42, {})
    assert stream.getvalue().splitlines() == ["rl 41/100 | ETA 59:00", "rl 42/100 | ETA 58:00"]


@pytest.mark.parametrize("make", [pipe, terminal])
def test_hostile_text_is_shown_and_not_obeyed(make) -> None:
    console, stream = make()
    with Progress("rl", 2, console) as progress:
        progress.note("model wrote \x1b[2J\x07[red]done[/red] \u202e")
        progress.step(1, METRICS, "saw \x1b]0;title\x07 [/] [link=x]\n[bold]")
    written = stream.getvalue()
    for harmful in ("\x1b[2J", "\x1b]0;", "\x07", "\u202e"):
        assert harmful not in written
    assert "[red]done[/red]" in written
    assert "\\x1b[2J" in written


def test_say_reaches_the_panel_in_use() -> None:
    console, stream = pipe()
    with Progress("rl", 2, console):
        Progress.say("one\ntwo")
    assert stream.getvalue() == "one\ntwo\n"


def test_say_between_stages_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress.say("between stages")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "between stages\n")


@pytest.mark.parametrize(
    "metrics", [{}, {"time/step_s": 1.0}, {"time/rollout_s": float("nan")}, {"loss": float("nan"), "accuracy": float("inf")}]
)
def test_missing_or_broken_numbers_do_not_break_the_display(metrics: dict[str, float]) -> None:
    for console, _ in (pipe(), terminal()):
        with Progress("rl", 1, console) as progress:
            progress.step(1, metrics)


def test_shares_of_time_add_up() -> None:
    assert sum(share for _, share in time_split(METRICS)) == pytest.approx(1.0)
    assert dict(time_split({"time/update_s": 3.0, "time/step_s": 2.0})) == {"update": 1.0}
