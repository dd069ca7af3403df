"""GSM8K's calculator notes, `48/2 = <<48/2=24>>24 clips`, as calls of a tool `python`: the words up to a note, a call of what it
computes, what the tool really answers, and on with the words.

So a demonstration calls where a result is needed and goes on from what it was told, as the notes were meant. Every note is run in the
sandbox when the data is loaded; what it says itself only has to agree.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Sequence

from rlvr_tasks.errors import TaskError
from rlvr_tasks.rows import listed
from rlvr_tasks.sources.tools import calling, taught
from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.tool_env.instance import Instance
from rlvr_verifiers.tool_env.replay import opened, replay
from rlvr_verifiers.types import Message, Task

logger = logging.getLogger(__name__)

TOOL = "python"
Calculate = Callable[[str], str]
"""Code to what the policy would be shown. Raises TaskError where the tool cannot run it."""

_NOTE = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_GOLD = re.compile(r"\n####.*\Z", re.DOTALL)


def demonstrated(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks whose `demonstration` has notes, as solved conversations; the log counts and names those that cannot be shown.

    Raises TaskError where their environment does not work, or not one can be shown.
    """
    try:
        with opened(tasks[0]) as session:
            return _demonstrated(tasks, _calculator(session))
    except VerifierError as error:
        raise TaskError(f"demonstrate: {error}") from None


def _demonstrated(tasks: Sequence[Task], calculate: Calculate) -> tuple[Task, ...]:
    shown: list[Task] = []
    left_out: list[str] = []
    for task in tasks:
        info = dict(task.info)
        try:
            turns = solved(str(info.pop("demonstration")), task.answer, calculate)
        except TaskError as error:
            left_out.append(f"{task.id}: {error}")
        else:
            shown.append(taught(dataclasses.replace(task, tools=offered(task), info=info), turns))
    told = listed(f"{len(left_out)} of {len(tasks)} solutions cannot be shown with calls and are left out", left_out)
    if not shown:
        raise TaskError(told)
    if left_out:
        logger.warning("%s", told)
    return tuple(shown)


def solved(solution: str, gold: str, calculate: Calculate) -> tuple[Message, ...]:
    """The turns of a solution. Raises TaskError where it has no notes, or one of them is not what the tool says."""
    words = _GOLD.sub("", solution)
    messages: list[Message] = []
    spoken = 0
    for number, note in enumerate(_NOTE.finditer(words)):
        call = Call(name=TOOL, arguments={"code": note[1].strip()}, id=f"call{number:05d}")
        told = calculate(call.arguments["code"])
        if not _agree(told, note[2]):
            raise TaskError(
                f"the note {clip(note[0], 60)} does not hold: the tool says {clip(told.strip().splitlines()[-1], 60)}"
            )
        messages.append(calling((call,), words[spoken : note.start()].strip()))
        messages.append({"role": "tool", "tool_call_id": call.id, "name": TOOL, "content": told})
        spoken = note.end()
    if not messages:
        raise TaskError("no calculator notes, <<48/2=24>>, in its solution")
    return (*messages, {"role": "assistant", "content": f"{words[spoken:].strip()}\n\\boxed{{{gold}}}"})


def _calculator(session: Instance) -> Calculate:
    """One session for all: notes are expressions, which leave nothing behind, and many are the same."""

    @functools.cache
    def calculate(code: str) -> str:
        (result,) = replay(session, [Call(name=TOOL, arguments={"code": code})])
        if result.error:
            raise TaskError(f"the tool cannot run {clip(code, 60)}: {clip(result.content, 100)}")
        return result.content

    return calculate


def _agree(told: str, noted: str) -> bool:
    """Whether the tool's result, rounded as the note is, is the note's."""
    noted = noted.strip().replace(",", "")
    try:
        return round(float(told), len(noted.partition(".")[2])) == float(noted)
    except (ValueError, OverflowError):
        return False
