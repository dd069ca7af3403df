"""Generated tool tasks: single calls (`tool_calls`), and small errands in the built-in environments (`tool_env`).

Train and eval are disjoint by a hash of the question, whatever the seeds; within a set all questions are different, and the first n of
a longer set are the set of size n. With `demonstrate` a task is the solved conversation, for SFT, with structured calls that the
model's own template writes out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from rlvr_tasks.errors import TaskError
from rlvr_tasks.procedural import Side, side_of
from rlvr_tasks.record import canonical_json
from rlvr_verifiers.tool_call import Call
from rlvr_verifiers.tool_env import offered
from rlvr_verifiers.tool_env.replay import opened, replay
from rlvr_verifiers.types import Message, Task

TRIES = 200
"""Draws for one new question before the space counts as used up."""

CITIES = (
    "Oslo",
    "Lima",
    "Rome",
    "Cairo",
    "Quito",
    "Turin",
    "Bergen",
    "Osaka",
    "Porto",
    "Accra",
    "Hanoi",
    "Bogota",
    "Leeds",
    "Nice",
)
PEOPLE = ("ana", "bo", "carl", "dina", "eli", "fay", "gus", "hana", "ivo", "jun", "kai", "lea")
MONEY = ("EUR", "USD", "NOK", "GBP", "JPY", "CHF")
COLOURS = ("red", "blue", "green", "black", "white", "grey", "brown", "pink", "gold", "teal")
GOODS = ("mug", "lamp", "chair", "kettle", "clock", "scarf", "vase", "rug")
WORDS = ("plan", "list", "draft", "budget", "recipe", "log", "memo", "report", "poem", "index")
FOLDERS = ("notes", "work", "home", "old", "inbox", "archive")

Calls = tuple[Call, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    question: str
    calls: Calls
    tools: tuple[str, ...] = ()
    """Names of those that are offered."""
    env_args: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    outputs: tuple[str, ...] = ()


Pose = Callable[[random.Random], Errand]


def tool_calls(
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no question is in both")] = "train",
    seed: Annotated[int, Field(description="draws other questions of the same side")] = 0,
    format: Annotated[str, Field(description="how the policy writes calls, as in verifier_args of tool_call")] = "auto",  # noqa: A002
    demonstrate: Annotated[bool, Field(description="solved conversations for SFT, instead of tasks to solve")] = False,
) -> Sequence[Task]:
    """One or two calls of one of three simple tools, and questions that none of them can answer."""
    tasks: list[Task] = []
    for errand in distinct("tool_calls", SINGLE, size, split, seed):
        task = Task(
            id=f"tool-call-{errand_key('tool_calls', errand.question)[:16]}",
            prompt=({"role": "user", "content": errand.question},),
            tools=tuple(TOOLS[name] for name in errand.tools),
            verifier="tool_call",
            verifier_args={"format": format},
            answer=canonical_json([{"name": call.name, "arguments": dict(call.arguments)} for call in errand.calls]),
            data_source="tool_calls",
            ability="tool calls",
            split=split,
        )
        last: Message = calling(errand.calls) if errand.calls else {"role": "assistant", "content": NO_TOOL}
        tasks.append(taught(task, (last,)) if demonstrate else task)
    return tuple(tasks)


def tool_env(
    environment: Annotated[Literal["files", "shop"], Field(description="built-in environment")] = "files",
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no question is in both")] = "train",
    seed: Annotated[int, Field(description="draws other questions of the same side")] = 0,
    demonstrate: Annotated[bool, Field(description="solved conversations for SFT, instead of tasks to solve")] = False,
) -> Sequence[Task]:
    """Errands in a small file system or a shop, judged by the state they leave and what the reply states."""
    tasks: list[Task] = []
    for errand in distinct(environment, ENVIRONMENTS[environment], size, split, seed):
        calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in errand.calls]
        task = Task(
            id=f"{environment}-{errand_key(environment, errand.question)[:16]}",
            prompt=({"role": "user", "content": errand.question},),
            verifier="tool_env",
            answer=canonical_json({"calls": calls, **({"outputs": list(errand.outputs)} if errand.outputs else {})}),
            environment=environment,
            env_args={**errand.env_args, "tools": list(errand.tools)},
            data_source=f"tool_env/{environment}",
            ability="tool use",
            split=split,
        )
        task = dataclasses.replace(task, tools=offered(task))
        tasks.append(taught(task, _solved(task, errand)) if demonstrate else task)
    return tuple(tasks)


NO_TOOL = "None of the tools can do that."


def _solved(task: Task, errand: Errand) -> tuple[Message, ...]:
    """One call a turn, what the environment really answers, and a reply."""
    messages: list[Message] = []
    with opened(task) as instance:
        for number, result in enumerate(replay(instance, errand.calls)):
            if result.error:
                raise TaskError(f"tool_env: the gold of {task.id} fails: {result.content}")
            identity = f"call{number:05d}"
            messages.append(calling((dataclasses.replace(result.call, id=identity),)))
            messages.append({"role": "tool", "tool_call_id": identity, "name": result.call.name, "content": result.content})
    reply = f"The answer is {' and '.join(errand.outputs)}." if errand.outputs else "Done."
    return (*messages, {"role": "assistant", "content": reply})


def calling(calls: Calls, words: str = "") -> Message:
    """An assistant's turn that makes calls, after these words."""
    made = [{"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}} for call in calls]
    return {
        "role": "assistant",
        "content": words,
        "tool_calls": [{"id": call.id, **item} for call, item in zip(calls, made, strict=True)],
    }


def taught(task: Task, messages: Sequence[Message]) -> Task:
    return dataclasses.replace(
        task, prompt=(*task.prompt, *messages), verifier="", answer="", verifier_args={}, environment=None, env_args={}
    )


def distinct(name: str, poses: Sequence[Pose], size: int, split: str, seed: int) -> list[Errand]:
    """The first `size` different questions of this side. Raises TaskError where there are not so many."""
    source = random.Random(f"{name}/{seed}")
    found: dict[str, Errand] = {}
    for _ in range(size):
        for _ in range(TRIES):
            errand = source.choice(poses)(source)
            if side_of(errand_key(name, errand.question)) == split and errand.question not in found:
                found[errand.question] = errand
                break
        else:
            raise TaskError(
                f"{name}: {size} different questions of the {split} side cannot be made; ask for {len(found)} or fewer"
            )
    return list(found.values())


def errand_key(name: str, question: str) -> str:
    return hashlib.sha256(f"{name}\0{question}".encode()).hexdigest()


def _call(name: str, **arguments: Any) -> Call:
    return Call(name=name, arguments=arguments)


# -- single calls ---------------------------------------------------------------------------------------------------------


def _tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = {
    "get_weather": _tool("get_weather", "Forecast of a city.", city={"type": "string"}, days={"type": "integer"}),
    "convert": _tool(
        "convert", "Convert money.", amount={"type": "number"}, source={"type": "string"}, target={"type": "string"}
    ),
    "set_timer": _tool("set_timer", "Start a timer.", minutes={"type": "integer"}, label={"type": "string"}),
}


def _weather(source: random.Random) -> Errand:
    city, days = source.choice(CITIES), source.randint(2, 30)
    return _single(source, f"Show me the weather in {city} for {days} days.", _call("get_weather", city=city, days=days))


def _money(source: random.Random) -> Errand:
    amount, (old, new) = source.randint(2, 999), source.sample(MONEY, 2)
    return _single(source, f"Convert {amount} {old} to {new}.", _call("convert", amount=amount, source=old, target=new))


def _timer(source: random.Random) -> Errand:
    minutes, label = source.randint(2, 120), source.choice(WORDS)
    return _single(
        source, f"Start a timer of {minutes} minutes called {label}.", _call("set_timer", minutes=minutes, label=label)
    )


def _two_cities(source: random.Random) -> Errand:
    first, second = source.sample(CITIES, 2)
    days = source.randint(2, 30)
    calls = [_call("get_weather", city=city, days=days) for city in (first, second)]
    return _single(source, f"Show me the weather in {first} and in {second} for {days} days.", *calls)


def _nothing(source: random.Random) -> Errand:
    person, thing = source.choice(PEOPLE).title(), source.choice(GOODS)
    return _single(source, f"Send {person} {source.randint(2, 99)} euros for the {thing}.")


def _single(source: random.Random, question: str, *calls: Call) -> Errand:
    # The order of the tools follows from the question, so that it tells nothing about which one is meant.
    names = random.Random(question).sample(sorted(TOOLS), len(TOOLS))
    return Errand(question=question, calls=calls, tools=tuple(names))


SINGLE: tuple[Pose, ...] = (_weather, _money, _timer, _two_cities, _nothing)


# -- files ----------------------------------------------------------------------------------------------------------------


def _disk(source: random.Random) -> tuple[dict[str, str], list[str], list[str]]:
    """Files with their texts, paths of the files, and folders."""
    folders: list[str] = source.sample(FOLDERS, 3)
    paths = [f"/{source.choice(folders)}/{name}{source.randint(10, 99)}.txt" for name in source.sample(WORDS, 4)]
    texts = {path: f"number {source.randint(100, 999)}" for path in paths}
    return {**{f"/{folder}/": "" for folder in folders}, **texts}, paths, folders


def _moved(source: random.Random) -> Errand:
    files, paths, folders = _disk(source)
    path = source.choice(paths)
    target = source.choice([folder for folder in folders if f"/{folder}/" not in path])
    name = path.rpartition("/")[2]
    call = _call("move", source=path, target=f"/{target}/{name}")
    return Errand(
        question=f"Move {path} to the folder /{target}.",
        calls=(call,),
        tools=("list_folder", "move"),
        env_args={"files": files},
    )


def _deleted(source: random.Random) -> Errand:
    files, paths, _ = _disk(source)
    first, second = source.sample(paths, 2)
    calls = (_call("delete", path=first), _call("delete", path=second))
    question = f"Delete {first} and {second}."
    return Errand(question=question, calls=calls, tools=("list_folder", "delete"), env_args={"files": files})


def _written(source: random.Random) -> Errand:
    files, _, folders = _disk(source)
    path, text = f"/{folders[0]}/{source.choice(WORDS)}{source.randint(100, 999)}.txt", f"number {source.randint(100, 999)}"
    call = _call("write_file", path=path, text=text)
    return Errand(
        question=f"Write '{text}' into the new file {path}.",
        calls=(call,),
        tools=("read_file", "write_file"),
        env_args={"files": files},
    )


def _read(source: random.Random) -> Errand:
    files, paths, _ = _disk(source)
    path = source.choice(paths)
    call = _call("read_file", path=path)
    question = f"Which number is in {path}?"
    return Errand(
        question=question,
        calls=(call,),
        tools=("list_folder", "read_file"),
        env_args={"files": files},
        outputs=(files[path].split()[1],),
    )


# -- shop -----------------------------------------------------------------------------------------------------------------


def _stock(source: random.Random) -> dict[str, Any]:
    people = source.sample(PEOPLE, 2)
    goods = [f"{source.choice(COLOURS)} {name}" for name in source.sample(GOODS, 3)]
    orders = [
        {"customer": source.choice(people), "product": source.choice(goods), "quantity": 1, "status": "paid"}
        for _ in range(3)
    ]
    return {
        "products": {name: {"price": 50 * source.randint(2, 60), "stock": source.randint(5, 40)} for name in goods},
        "customers": {name: {"balance": 1000 * source.randint(50, 90)} for name in people},
        "orders": orders,
    }


def _ordered(source: random.Random) -> Errand:
    shop = _stock(source)
    customer, product = source.choice(list(shop["customers"])), source.choice(list(shop["products"]))
    quantity = source.randint(1, 5)
    call = _call("place_order", customer=customer, product=product, quantity=quantity)
    question = f"Place an order for {customer}: {quantity} of the product '{product}'."
    return Errand(question=question, calls=(call,), tools=("find_products", "place_order"), env_args=shop)


def _cancelled(source: random.Random) -> Errand:
    shop = _stock(source)
    number = source.randint(1, 3)
    customer, cents = source.choice(list(shop["customers"])), 10 * source.randint(1, 300)
    calls = (_call("cancel_order", order=number), _call("add_balance", customer=customer, cents=cents))
    question = f"Cancel order {number}, then add {cents} cents to the balance of {customer}."
    return Errand(question=question, calls=calls, tools=("get_order", "cancel_order", "add_balance"), env_args=shop)


def _priced(source: random.Random) -> Errand:
    shop = _stock(source)
    product, customer = source.choice(list(shop["products"])), source.choice(list(shop["customers"]))
    question = f"For {customer}: how many cents does one '{product}' cost?"
    price = str(shop["products"][product]["price"])
    call = _call("find_products", text=product)
    return Errand(question=question, calls=(call,), tools=("find_products", "place_order"), env_args=shop, outputs=(price,))


ENVIRONMENTS: Mapping[str, tuple[Pose, ...]] = {
    "files": (_moved, _deleted, _written, _read),
    "shop": (_ordered, _cancelled, _priced),
}
