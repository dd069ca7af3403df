"""Whatever a model writes, showing it is harmless."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from rlvr.printable import printable, visible

MARKUP_LIKE = st.text(alphabet="\\[]/ab=#@: ", max_size=12)


@given(st.text(max_size=200))
def test_visible_text_is_one_line_without_control_characters(text: str) -> None:
    shown = visible(text, 60)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202eevil\u200b", "\\u202eevil\\u200b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\x9b31m", "\\x9b31m"),  # the one-byte CSI
        ("größer ≤ 数 \\boxed{4}", "größer ≤ 数 \\boxed{4}"),
    ],
)
def test_what_acts_on_a_terminal_is_spelt_out_and_the_rest_is_left_alone(text: str, shown: str) -> None:
    assert visible(text, 80) == shown


def test_long_text_keeps_its_start_and_its_end() -> None:
    shown = visible("The reasoning " + "x" * 10**6 + " Answer: 42", 40)
    assert len(shown) == 40
    assert shown.startswith("The reasoning")
    assert shown.endswith("Answer: 42")


@given(MARKUP_LIKE, MARKUP_LIKE)
@example("\\[a]", "\\\\[/a]")
@example("[a", "[")
@example("\\\\\\", "")
def test_markup_in_the_text_is_never_live_and_ours_around_it_is(text: str, other: str) -> None:
    shown = Text.from_markup(f"[bold]{printable(text, 99)}[/bold] plain] {printable(other, 99)}", emoji=False)
    assert [(span.start, str(span.style)) for span in shown.spans] == [(0, "bold")]
    assert shown.plain.replace("\\", "") == f"{text} plain] {other}".replace("\\", "")


@given(st.text(alphabet="[]/abc=#@: ", max_size=20))
def test_markup_without_backslashes_is_shown_exactly(text: str) -> None:
    assert Text.from_markup(printable(text, 99), emoji=False).plain == text


def test_console_shows_a_fake_warning_as_the_text_it_is() -> None:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="truecolor", highlight=False).print(
        printable("[/][red]error:[/red] \x1b[2Jgone [link=file:///etc/passwd]x[/link]", 200)
    )
    written = stream.getvalue()
    assert "\x1b" not in written
    assert "[red]error:[/red]" in written
