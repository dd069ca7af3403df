"""The `tool_env` verifier: is the environment, in the end, as the gold leaves it, and does the reply say what it has to?

Both the policy's calls and the gold's are run on fresh environments here, in a process that can be killed, so that a score depends
on nothing but the recorded conversation and can be computed again. Calls that only read are free, and so is every way that leads to
the same state. An environment has to do the same thing each time for that: no clock, no randomness that is not seeded by the task.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.response import final_text
from rlvr_verifiers.tool_call import parse_calls
from rlvr_verifiers.tool_env.answer import Gold, read_gold, states
from rlvr_verifiers.tool_env.instance import Instance
from rlvr_verifiers.tool_env.loops import where_no_loop_runs
from rlvr_verifiers.tool_env.registry import offered
from rlvr_verifiers.tool_env.replay import executed, opened, replay, state_of
from rlvr_verifiers.types import Completion, Score, Task

MAX_REPLY = 2_000
"""Characters of a reply that has to state something."""
MAX_NUMBERS = 8
"""Different numbers in it beyond those that are wanted."""
_NUMBER = re.compile(r"\d+")


class ToolEnv:
    reasons = frozenset({"ok", "wrong_state", "missing_output", "hedge", "refused", "no_answer"})

    @where_no_loop_runs
    def check_task(self, task: Task) -> str | None:
        """Runs the gold. A task that a policy solves by doing nothing is refused."""
        ArgumentReader("tool_env", task.verifier_args).finish()
        gold = read_gold(task.answer)
        if not task.tools:
            return "tools is empty; the schemas of the environment's tools have to be in the prompt (`offered` gives them)"
        if offered(task) != tuple(task.tools):
            return f"tools are not those of the environment {task.environment!r}; leave them out, and they are filled in"
        with opened(task) as untouched, opened(task) as wanted:
            for result in replay(wanted, gold.calls or ()):
                if result.error:
                    return f"the gold's call of {result.call.name!r} fails: {clip(result.content, 200)}"
            return _solved_by_nothing(task, gold, untouched, wanted)

    @where_no_loop_runs
    def score(self, task: Task, completion: Completion) -> Score:
        ArgumentReader("tool_env", task.verifier_args).finish()
        gold = read_gold(task.answer)
        reply = final_text(completion)
        if reply is None or not reply.strip() or completion.finish_reason == "length":
            return _refused("no_answer", "the conversation ends without a reply to the user")
        if parse_calls(reply).attempted:
            return _refused("no_answer", "the conversation ends in a call")
        calls = executed(completion)
        with opened(task) as instance:
            results = replay(instance, calls)
            metrics = {"calls": float(len(calls)), "failed_calls": float(sum(result.error for result in results))}
            problem = _state_problem(task, gold, instance) or _reply_problem(gold, reply) or _refusal(task, instance, reply)
        if problem is not None:
            return _refused(*problem, metrics=metrics)
        return Score(value=1.0, passed=True, reason="ok", explanation=f"solved in {len(calls)} calls", metrics=metrics)


def gold_completion(task: Task) -> Completion:
    """A conversation that solves the task: the gold's calls, and a reply that states its outputs."""
    gold = read_gold(task.answer)
    shown = [
        {"role": "tool", "name": call.name, "arguments": dict(call.arguments), "content": ""} for call in gold.calls or ()
    ]
    reply = "Done. " + "; ".join(gold.outputs)
    return Completion(text=reply, messages=(*shown, {"role": "assistant", "content": reply}))


Problem = tuple[str, str]
"""Reason and explanation."""


def _solved_by_nothing(task: Task, gold: Gold, untouched: Instance, wanted: Instance) -> str | None:
    if gold.calls is not None and state_of(untouched) != state_of(wanted):
        return None
    if gold.outputs:
        return None
    if gold.calls is None and _own_check(untouched) is not None:
        return None if _refusal(task, untouched, "Done.") else "the environment's own check passes before anything is done"
    return (
        "the gold changes nothing and wants no output, so that doing nothing would pass; leave the task out or add outputs"
    )


def _state_problem(task: Task, gold: Gold, instance: Instance) -> Problem | None:
    if gold.calls is None:
        return None
    with opened(task) as wanted:
        for result in replay(wanted, gold.calls):
            if result.error:
                raise VerifierError(f"the gold's call of {result.call.name!r} fails: {clip(result.content, 200)}")
        if state_of(instance) == state_of(wanted):
            return None
    return "wrong_state", "the environment is not as the gold leaves it"


def _reply_problem(gold: Gold, reply: str) -> Problem | None:
    """A reply that lists everything states whatever is wanted."""
    numbers = len(set(_NUMBER.findall(reply)))
    if gold.outputs and (len(reply) > MAX_REPLY or numbers > MAX_NUMBERS + len(gold.outputs)):
        return "hedge", f"the reply has {len(reply)} characters and {numbers} different numbers, too many to state one thing"
    missing = next((text for text in gold.outputs if not states(reply, text)), None)
    return None if missing is None else ("missing_output", f"the reply does not state {clip(missing, 80)!r}")


def _refusal(task: Task, instance: Instance, reply: str) -> Problem | None:
    check = _own_check(instance)
    problem = None if check is None else instance.finished(check(task, reply))
    return None if problem is None else ("refused", clip(str(problem), 300))


def _own_check(instance: Instance) -> Callable[[Task, str], object] | None:
    return getattr(instance.environment, "check", None)


def _refused(reason: str, explanation: str, metrics: dict[str, float] | None = None) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation, metrics=metrics or {})
