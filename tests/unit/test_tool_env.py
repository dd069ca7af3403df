"""Environments: schemas from hints and docstrings, episodes, replay, golds that prove something."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.tool_env import (
    Environments,
    Episode,
    EpisodeLimits,
    ToolError,
    available,
    gold_completion,
    offered,
    tool,
)
from rlvr_verifiers.tool_env import episode as episode_module
from rlvr_verifiers.tool_env.answer import states
from rlvr_verifiers.tool_env.registry import resolve as resolve_environment
from rlvr_verifiers.tool_env.tools import tools_of
from rlvr_verifiers.types import Completion, Message, Score, Task

HERE = f"{Path(__file__)}:"


class Counter:
    """Counts, and misbehaves when asked to."""

    def reset(self, task: Task) -> None:
        if "broken" in task.env_args:
            raise RuntimeError("no database")
        self.counts: dict[str, int] = task.env_args.setdefault("counts", {"a": 0})

    @tool
    def add(self, name: str, amount: int = 1, mode: Literal["up", "down"] = "up") -> int:
        """Changes a count.

        It is made where it does not exist.

        Args:
            name: the count.
            amount: by how much.
        """
        self.counts[name] = self.counts.get(name, 0) + (amount if mode == "up" else -amount)
        return self.counts[name]

    @tool
    async def read(self) -> dict[str, int]:
        """Returns all counts."""
        await asyncio.sleep(0)
        return self.counts

    @tool
    def refuse(self) -> None:
        """Always refuses."""
        raise ToolError("not today")

    @tool
    def crash(self) -> None:
        """Always fails."""
        raise KeyError("x")

    @tool
    def fail(self) -> None:
        """Fails for a reason of ours."""
        raise VerifierError("the database is down")

    @tool
    def hang(self) -> None:
        """Never returns."""
        threading.Event().wait(30)

    @tool
    def flood(self) -> str:
        """Returns much."""
        return "start" + "x" * 100_000 + "end"

    @tool
    def half(self) -> str:
        """Returns half of a surrogate pair."""
        return "\ud83d"

    def hidden(self) -> str:
        return "no tool"


def env_task(answer: object = None, environment: str = HERE + "Counter", **env_args: Any) -> Task:
    text = answer if isinstance(answer, str) else json.dumps(answer or {"calls": [add("a")]})
    task = Task(id="t", prompt=(), verifier="tool_env", answer=text, environment=environment, env_args=env_args)
    return dataclasses.replace(task, tools=offered(task))


def add(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "add", "arguments": {"name": name, **arguments}}


def turn(*calls: tuple[str, dict[str, Any]]) -> str:
    return "".join(f"<tool_call>{json.dumps({'name': name, 'arguments': given})}</tool_call>" for name, given in calls)


def played(task: Task, turns: Sequence[str], limits: EpisodeLimits | None = None) -> Completion:
    """The conversation that these turns of a policy lead to."""

    async def play() -> tuple[Message, ...]:
        messages: list[Message] = []
        async with Environments("hermes", limits).episode(task) as episode:
            for text in turns:
                messages.append({"role": "assistant", "content": text})
                messages += await episode.observe(text)
        return tuple(messages)

    return Completion(text=turns[-1], messages=asyncio.run(play()))


def contents(completion: Completion) -> list[str]:
    return [message["content"] for message in completion.messages if message["role"] == "tool"]


def judge(task: Task, completion: Completion) -> Score:
    score = resolve("tool_env").function(task, completion)
    assert isinstance(score, Score)
    return score


def test_a_schema_says_what_hints_and_docstring_say() -> None:
    schema = tools_of(Counter)["add"].schema["function"]
    assert schema["description"] == "Changes a count.\nIt is made where it does not exist."
    assert schema["parameters"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "the count."},
            "amount": {"type": "integer", "default": 1, "description": "by how much."},
            "mode": {"type": "string", "enum": ["up", "down"], "default": "up"},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert list(tools_of(Counter)) == ["add", "read", "refuse", "crash", "fail", "hang", "flood", "half"]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (("add", {"name": "a", "amount": 2}), "2"),
        (("read", {}), '{"a": 0}'),
        (("add", {"name": "a", "amount": "2"}), "error: amount: Input should be a valid integer"),
        (("add", {"name": "a", "amount": True}), "error: amount: Input should be a valid integer"),
        (("add", {"name": "a", "amount": 2.0}), "error: amount: Input should be a valid integer"),
        (("add", {"name": "a", "mode": "sideways"}), "error: mode: Input should be 'up' or 'down'"),
        (("add", {"name": "a", "self": 1}), "error: self: Extra inputs are not permitted"),
        (("add", {}), "error: name: Field required"),
        (("refuse", {}), "error: not today"),
        (("crash", {}), "error: KeyError: 'x'"),
        (("hidden", {}), "error: there is no tool 'hidden'; the tools are add, read,"),
        (("__init__", {}), "error: there is no tool '__init__'"),
        (("reset", {"task": {}}), "error: there is no tool 'reset'"),
    ],
)
def test_calls_go_by_name_with_checked_arguments_and_errors_are_messages(
    call: tuple[str, dict[str, Any]], answer: str
) -> None:
    (content,) = contents(played(env_task(), [turn(call)]))
    assert content.startswith(answer)


def test_a_turn_with_anything_unreadable_in_it_runs_nothing() -> None:
    broken = turn(("add", {"name": "a"})) + "<tool_call>{</tool_call>"
    said, state = contents(played(env_task(), [broken, turn(("read", {}))]))
    assert said.startswith("error: no JSON")
    assert said.endswith("Nothing was run.")
    assert state == '{"a": 0}'


def test_a_turn_without_a_call_shows_nothing_and_reasoning_is_not_run() -> None:
    assert contents(played(env_task(), ["Hello.", f"<think>{turn(('add', {'name': 'a'}))}</think>Done."])) == []


def test_rollouts_of_one_task_never_share_a_state() -> None:
    """The environment even keeps the arguments of its task and edits them."""
    task = env_task(counts={"a": 5})
    for _ in range(2):
        assert contents(played(task, [turn(("add", {"name": "a"}))])) == ["6"]
    assert task.env_args == {"counts": {"a": 5}}

    async def both() -> list[str]:
        first, second = Episode(task), Episode(task)
        found = [await episode.observe(turn(("add", {"name": "a"}))) for episode in (first, second, first)]
        return [messages[0]["content"] for messages in found]

    assert asyncio.run(both()) == ["6", "6", "7"]


def test_a_call_that_hangs_is_answered_in_time_and_stops_nobody_else() -> None:
    limits = EpisodeLimits(call_timeout_s=0.5)

    async def side_by_side() -> tuple[bool, list[str], str]:
        environments = Environments("hermes", limits)
        async with environments.episode(env_task()) as slow, environments.episode(env_task()) as quick:
            hanging = asyncio.create_task(slow.observe(turn(("hang", {}))))
            done = await quick.observe(turn(("add", {"name": "a"})))
            waited = hanging.done()
            said = [(await hanging)[0], (await slow.observe(turn(("add", {"name": "a"}))))[0]]
            assert "arguments" not in said[1], "it was not run, so it must not be replayed"
            return waited, [message["content"] for message in said], done[0]["content"]

    waited, said, done = asyncio.run(side_by_side())
    assert done == "1"
    assert not waited
    assert said == ["error: hang ran longer than 0.5 s; no further call can be made"] * 2


class Clocked(Counter):
    in_process = True
    own_clock = True


def test_an_environment_with_its_own_clock_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = EpisodeLimits(call_timeout_s=1e-9)
    assert contents(played(env_task(environment=HERE + "Clocked"), [turn(("add", {"name": "a"}))], limits)) == ["1"]
    monkeypatch.setattr(episode_module, "OWN_CLOCK_DEADLINE_S", 0.1)
    with pytest.raises(VerifierError, match=r"hang was not ended by its environment's own clock in 0\.1 s"):
        played(env_task(environment=HERE + "Clocked"), [turn(("hang", {}))], limits)


def test_limits_of_calls_and_of_output() -> None:
    task = env_task()
    many = played(task, [turn(*[("add", {"name": "a"})] * 5), "Done."], EpisodeLimits(calls=3))
    assert contents(many) == ["1", "2", "3", *["error: no more than 3 calls can be made"] * 2]
    (flood,) = contents(played(task, [turn(("flood", {}))], EpisodeLimits(output_chars=100)))
    assert flood.startswith("start")
    assert flood.endswith("end")
    assert "99908 characters are left out" in flood


def test_what_is_shown_can_be_encoded_whatever_a_tool_or_a_call_holds() -> None:
    """A tokenizer raises TypeError for half of a surrogate pair, and one call would end the run."""
    odd = json.dumps({"name": "f\ud83d", "arguments": {"x": "\ud83d"}, "id": "\udc00"})
    completion = played(env_task(), [turn(("half", {})), f"<tool_call>{odd}</tool_call>"])
    tools = [message for message in completion.messages if message["role"] == "tool"]
    assert [message["content"] for message in tools[:1]] == ["\\ud83d"]
    assert "there is no tool" in tools[1]["content"]
    for message in tools:
        for field in ("content", "name", "tool_call_id"):
            message[field].encode()


def test_a_failure_of_the_environment_is_raised_and_never_the_policys() -> None:
    with pytest.raises(VerifierError, match="the database is down"):
        played(env_task(), [turn(("fail", {}))])
    with pytest.raises(VerifierError, match="cannot be reset for task 't': RuntimeError: no database"):
        Episode(env_task(broken=True))


def test_the_final_state_counts_not_the_way_to_it() -> None:
    task = env_task({"calls": [add("a", amount=3)]})
    assert check_task(task) is None
    assert judge(task, gold_completion(task)).passed
    steps = [
        turn(("read", {})),
        turn(("add", {"name": "a"}), ("crash", {})),
        turn(("add", {"name": "a", "amount": 2})),
        "Done.",
    ]
    score = judge(task, played(task, steps))
    assert (score.value, score.metrics["calls"], score.metrics["failed_calls"]) == (1.0, 4.0, 1.0)
    assert judge(task, played(task, [steps[2], "Done."])).reason == "wrong_state"
    assert judge(task, played(task, ["Done."])).reason == "wrong_state"
    assert judge(task, played(task, [*steps[:3]])).reason == "no_answer"
    assert judge(task, played(task, [*steps[:3], "<think>Done."])).reason == "no_answer"
    cut = dataclasses.replace(played(task, steps), finish_reason="length")
    assert judge(task, cut).reason == "no_answer"


class Mixed(Counter):
    def reset(self, task: Task) -> None:
        self.value: object = None

    @tool
    def put(self, kind: str) -> str:
        """Puts a value in."""
        huge = 1 << 20_000
        values = {
            "huge": huge,
            "float": 3.0,
            "int": 3,
            "true": True,
            "one": 1,
            "hex": "0x3",
            "text": "3",
            "nan": float("nan"),
        }
        self.value = {**values, "key": {huge: 1}, "other": {huge + 1: 1}, "set": {huge, 2}, "more": huge + 1}[kind]
        return kind


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        *[(kind, kind, True) for kind in ("huge", "key", "set", "nan", "text", "true")],
        ("huge", "int", False),
        ("huge", "more", False),
        ("int", "huge", False),
        ("key", "other", False),
        ("set", "huge", False),
        ("int", "float", True),
        ("int", "hex", False),
        ("int", "text", False),
        ("one", "true", False),
    ],
)
def test_states_are_compared_whatever_they_hold(wanted: str, found: str, same: bool) -> None:
    """A number of more than 4,300 digits has no decimals in Python, and must not let a policy choose to have no score."""
    task = env_task({"calls": [{"name": "put", "arguments": {"kind": wanted}}]}, HERE + "Mixed")
    messages = ({"role": "tool", "name": "put", "arguments": {"kind": found}}, {"role": "assistant", "content": "Done."})
    assert score_now(task, Completion(text="Done.", messages=messages)).value == float(same)


def test_calls_of_a_servers_messages_are_replayed_too() -> None:
    task = env_task({"calls": [add("a", amount=3)]})
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"name": "a", "amount": 3}'}}
    messages = (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "assistant", "content": "Done."},
    )
    assert judge(task, Completion(text="", messages=messages)).passed
    assert judge(task, Completion(text="", messages=messages[2:])).reason == "wrong_state"
    many = ({**messages[0], "tool_calls": [call] * 65}, *messages[1:])
    assert judge(task, Completion(text="", messages=many)).reason == "wrong_state"  # too many calls to be read: none is run


def test_a_reply_that_lists_everything_states_nothing() -> None:
    task = env_task({"outputs": ["417"]})
    assert judge(task, Completion(text="It is 417, the sum of 400 and 17.")).passed
    assert judge(task, Completion(text=" ".join(map(str, range(100, 999))))).reason == "hedge"
    assert judge(task, Completion(text=" ".join(map(str, range(405, 420))))).reason == "hedge"
    assert judge(task, Completion(text="It is 417. " + "x" * 2_000)).reason == "hedge"


@pytest.mark.parametrize(
    ("reply", "wanted", "found"),
    [
        ("It costs 10 euros.", "10", True),
        ("It costs 1000 euros.", "10", False),
        ("It costs 10.5 euros.", "10", False),
        ("It costs 3,10 euros.", "10", False),
        ("It is -10.", "10", False),
        *[(f"It is {minus}10.", "10", False) for minus in "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"],
        ("It is \u221210.", "-10", True),
        ("It is -10.", "\u221210", True),
        ("The balance \u2013 10 euros \u2013 is paid", "10", True),
        ("It costs 10, I think", "10", True),
        ("ANA  Ruiz has it", "Ana Ruiz", True),
        ("Anastasia has it", "ana", False),
        ("costs 12.50 EUR", "12.50", True),
    ],
)
def test_outputs_are_whole_words_and_numbers(reply: str, wanted: str, found: bool) -> None:
    assert states(reply, wanted) is found


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"calls": []}, "doing nothing would pass"),
        ({"calls": [{"name": "read", "arguments": {}}]}, "doing nothing would pass"),
        ({"calls": [{"name": "crash", "arguments": {}}]}, "the gold's call of 'crash' fails"),
        ({"calls": [{"name": "nope", "arguments": {}}]}, "there is no tool 'nope'"),
        ({"calls": [add("a", amount="x")]}, "valid integer"),
        ({"outputs": [""]}, "not empty"),
        ({"call": []}, "unknown key"),
        ("", "doing nothing would pass"),
        ("[]", "no JSON object"),
    ],
)
def test_a_gold_that_proves_nothing_is_refused(answer: object, complaint: str) -> None:
    problem = check_task(env_task(answer))
    assert problem is not None
    assert complaint in problem


class Checked(Counter):
    """Has a check of its own."""

    def check(self, task: Task, reply: str) -> str | None:
        return None if self.counts["a"] > 5 else f"a is {self.counts['a']}"


def test_an_environments_own_check_decides_where_there_is_one() -> None:
    task = env_task("{}", HERE + "Checked")
    assert check_task(task) is None
    assert judge(task, played(task, [turn(("add", {"name": "a", "amount": 9})), "Done."])).passed
    refused = judge(task, played(task, [turn(("add", {"name": "a", "amount": 2})), "Done."]))
    assert (refused.reason, refused.explanation) == ("refused", "a is 2")
    assert "passes before anything is done" in (check_task(env_task("{}", HERE + "Checked", counts={"a": 7})) or "")


class NoTools:
    def reset(self, task: Task) -> None: ...


class NoDocs(NoTools):
    @tool
    def act(self) -> None: ...


class NoHint(NoTools):
    @tool
    def act(self, x) -> None:  # type: ignore[no-untyped-def]
        """Acts."""


class Odd(NoTools):
    @tool
    def act(self, x: threading.Event) -> None:
        """Acts."""


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (HERE + "NoTools", "no method marked with @tool"),
        (HERE + "NoDocs", "has no docstring"),
        (HERE + "NoHint", "'x' has no type hint"),
        (HERE + "Odd", "plain JSON types"),
        (HERE + "HERE", "has to be a class"),
        (HERE + "Missing", "cannot be loaded"),
        ("file", "did you mean 'files'?"),
        ("no_such_module:X", "cannot be loaded"),
    ],
)
def test_what_cannot_be_an_environment_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(VerifierError, match=complaint.replace("?", r"\?")):
        resolve_environment(name)


@pytest.mark.parametrize("name", available())
def test_every_built_in_can_be_described(name: str) -> None:
    task = Task(id="t", prompt=(), verifier="", answer="", environment=name)
    for schema in offered(task):
        assert schema["function"]["description"]
        for parameter in schema["function"]["parameters"]["properties"].values():
            assert parameter["description"]


def test_tools_of_a_task_have_to_be_the_environments() -> None:
    task = env_task()
    assert "leave them out" in (check_task(dataclasses.replace(task, tools=task.tools[:1])) or "")
    narrowed = env_task(tools=["add"])
    assert len(narrowed.tools) == 1
    assert check_task(narrowed) is None
    with pytest.raises(VerifierError, match=r"env_args\.tools"):
        env_task(tools=["hidden"])


FILES = {"/notes/a.txt": "alpha", "/notes/old/b.txt": "beta", "/empty/": ""}


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("list_folder", {}, '["empty/", "notes/"]'),
        ("list_folder", {"path": "/notes"}, '["a.txt", "old/"]'),
        ("list_folder", {"path": "/notes/a.txt"}, "error: there is no folder"),
        ("read_file", {"path": "/notes//a.txt"}, "alpha"),
        ("read_file", {"path": "/notes/../notes/a.txt"}, "error: '/notes/../notes/a.txt' is not an absolute path"),
        ("read_file", {"path": "notes/a.txt"}, "error: 'notes/a.txt' is not an absolute path"),
        ("find_text", {"text": "eta"}, '["/notes/old/b.txt"]'),
        ("write_file", {"path": "/x/y.txt", "text": ""}, "error: there is no folder /x"),
        ("write_file", {"path": "/notes", "text": ""}, "error: /notes is a folder"),
        ("write_file", {"path": "/c.txt", "text": "x" * 60_000}, "wrote 60000 characters"),
        ("move", {"source": "/notes/a.txt", "target": "/notes/old/b.txt"}, "error: /notes/old/b.txt exists already"),
        ("copy", {"source": "/notes/a.txt", "target": "/a.txt"}, "wrote 5 characters"),
        ("delete", {"path": "/notes"}, "error: /notes is not empty"),
        ("delete", {"path": "/empty"}, "deleted /empty"),
        ("delete", {"path": "/"}, "error: / is not empty"),
    ],
)
def test_files(name: str, arguments: dict[str, Any], answer: str) -> None:
    task = env_task({"outputs": ["x"]}, "files", files=FILES)
    (content,) = contents(played(task, [turn((name, arguments))]))
    assert content.startswith(answer)


def test_shop_keeps_its_books() -> None:
    shop = {
        "products": {"mug": {"price": 700, "stock": 3}},
        "customers": {"ana": {"balance": 2_000}},
        "orders": [{"customer": "ana", "product": "mug", "quantity": 1, "status": "paid"}],
    }
    task = env_task({"calls": [{"name": "cancel_order", "arguments": {"order": 1}}]}, "shop", **shop)
    assert check_task(task) is None
    replies = contents(
        played(
            task,
            [
                turn(("place_order", {"customer": "ana", "product": "mug", "quantity": 3})),
                turn(("place_order", {"customer": "ana", "product": "mug", "quantity": 2})),
                turn(("set_status", {"order": 2, "status": "delivered"}), ("set_status", {"order": 2, "status": "shipped"})),
                turn(("cancel_order", {"order": 2}), ("cancel_order", {"order": 1}), ("get_customer", {"customer": "ana"})),
            ],
        )
    )
    assert replies[0] == "error: ana has 2000 cents, and 2100 are needed"
    assert json.loads(replies[1])["total"] == 1_400
    assert replies[2:5] == ["error: order 2 is paid, not shipped", "order 2 is shipped", "error: order 2 is shipped"]
    assert json.loads(replies[6]) == {"customer": "ana", "balance": 1_300, "orders": [1, 2]}
    with pytest.raises(VerifierError, match="env_args do not hold"):
        Episode(env_task({"outputs": ["x"]}, "shop", orders=[{"customer": "bo"}]))


def test_a_score_of_ours_is_none_where_the_gold_breaks_later() -> None:
    task = env_task({"calls": [{"name": "crash", "arguments": {}}]})
    assert score_now(task, Completion(text="Done.")).value is None
