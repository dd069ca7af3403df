"""`ifeval`: every instruction of the row is followed by the reply.

    answer: {"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
             "kwargs": [{}, {"relation": "at least", "num_words": 300}]}

verifier_args: {"partial": true} gives the share of instructions that are followed; by default one that is not makes it 0. The checks
look at form alone: words that answer nothing may keep to all of them, so give such tasks a verifier of their content, too (`multi`).
An empty reply and one that is cut off follow nothing, and so does the prompt repeated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.ifeval.constraints import CONSTRAINTS
from rlvr_verifiers.ifeval.language import identifier
from rlvr_verifiers.response import MAX_SCANNED, final_text
from rlvr_verifiers.strict_json import JsonError, loads
from rlvr_verifiers.typed_arguments import TypedArguments, declared_arguments
from rlvr_verifiers.types import Completion, Score, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    id: str
    arguments: Mapping[str, Any]
    follows: Callable[..., bool]


class IfEval:
    reasons = frozenset({"ok", "not_followed", "no_answer", "truncated", "too_large", "echo"})
    built_on = ("py3langid",)

    def prepare(self) -> None:
        """Loads the model that tells languages apart. Raises VerifierError where its package is missing."""
        try:
            identifier()
        except ImportError as error:
            raise VerifierError(f"ifeval cannot tell languages apart ({error}); pip install py3langid") from error

    def check_task(self, task: Task) -> str | None:
        _partial(task)
        read_instructions(task.answer)
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        partial = _partial(task)
        instructions = read_instructions(task.answer)
        reply = final_text(completion)
        prompt = "\n".join(str(message.get("content")) for message in task.prompt if message.get("role") == "user")
        problem = _unjudgeable(reply, prompt, completion)
        if reply is None or problem is not None:
            return Score(
                value=0.0, passed=False, reason=(problem or "no_answer"), explanation="there is no reply to look at"
            )
        broken = [each for each in instructions if not each.follows(reply, prompt, **each.arguments)]
        followed = 1 - len(broken) / len(instructions)
        return Score(
            value=1.0 if not broken else followed if partial else 0.0,
            passed=not broken,
            reason="not_followed" if broken else "ok",
            explanation=clip("not followed: " + ", ".join(each.id for each in broken), 300)
            if broken
            else "all are followed",
            metrics={"followed": followed},
        )


@functools.lru_cache(maxsize=4096)
def read_instructions(answer: str) -> tuple[Instruction, ...]:
    """Raises VerifierError, in one line, where one of the instructions is unknown or its arguments are not what it takes."""
    try:
        data: Any = loads(answer)
    except JsonError as error:
        raise _bad(f"it is not strict JSON ({error})") from None
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    ids, kwargs = fields.get("instruction_id_list"), fields.get("kwargs")
    if fields.keys() != {"instruction_id_list", "kwargs"} or not isinstance(ids, list) or not isinstance(kwargs, list):
        raise _bad("it is no object of two lists, instruction_id_list and kwargs")
    names, arguments = cast("list[Any]", ids), cast("list[Any]", kwargs)
    if not names or len(names) != len(arguments):
        raise _bad(
            f"it has {len(names)} instructions and {len(arguments)} sets of arguments; as many are needed, one at least"
        )
    return tuple(_instruction(name, given) for name, given in zip(names, arguments, strict=True))


def _instruction(name: object, given: object) -> Instruction:
    if not isinstance(name, str) or name not in CONSTRAINTS:
        raise _bad(f"there is no instruction {clip(repr(name), 60)}; known are {', '.join(CONSTRAINTS)}")
    if not isinstance(given, Mapping):
        raise _bad(f"the arguments of {name} are {clip(repr(given), 40)}; give an object")
    given = {key: value for key, value in cast("Mapping[str, Any]", given).items() if value is not None}  # Arrow's
    taken = _arguments(name)
    if taken is None and given:
        raise _bad(f"{name} takes no arguments, and {', '.join(map(repr, given))} is given")
    arguments: Mapping[str, Any] = {}
    try:
        if taken is not None:
            arguments = taken.bind(given)[1]
    except VerifierError as error:
        raise _bad(str(error)) from None
    return Instruction(id=name, arguments=arguments, follows=CONSTRAINTS[name])


@functools.cache
def _arguments(name: str) -> TypedArguments | None:
    return declared_arguments(name, CONSTRAINTS[name])


def _unjudgeable(reply: str | None, prompt: str, completion: Completion) -> str | None:
    if reply is None or not reply.strip():
        return "no_answer"
    if len(reply) > MAX_SCANNED:
        return "too_large"
    if completion.finish_reason == "length":
        return "truncated"
    return "echo" if " ".join(reply.split()).casefold() == " ".join(prompt.split()).casefold() else None


def _partial(task: Task) -> bool:
    read = ArgumentReader("ifeval", task.verifier_args)
    partial = read.flag("partial", False)
    read.finish()
    return partial


def _bad(problem: str) -> VerifierError:
    return VerifierError(f"the answer of an ifeval task cannot be used: {problem}")
