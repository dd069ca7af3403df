"""The shapes of PrimeIntellect's `verifiers` 0.4 (its version 1) that a taskset and its bridge touch, written as a package.

The package itself needs versions of openai and mcp that do not get along with ours. RLVR_VERIFIERS_PYTHON, an interpreter that has
it, runs the same tests against the real one.
"""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

FILES = {
    "__init__.py": "",
    "v1/__init__.py": """
        from verifiers.v1.configs.taskset import TasksetConfig
        from verifiers.v1.task import Task, TaskData, metric, reward
        from verifiers.v1.taskset import Taskset
        from verifiers.v1.trace import Trace
        """,
    "v1/configs/__init__.py": "",
    "v1/configs/taskset.py": """
        from pydantic import BaseModel, ConfigDict

        class TasksetConfig(BaseModel):
            model_config = ConfigDict(extra="forbid")
            id: str = ""
            task: dict = {}
        """,
    "v1/configs/agent.py": """
        from pydantic import BaseModel

        class AgentConfig(BaseModel):
            pass
        """,
    "v1/utils/__init__.py": "",
    "v1/utils/generic.py": """
        from typing import get_args

        def concrete_type(cls, base):
            found = [arg for each in getattr(cls, "__orig_bases__", ()) for arg in get_args(each)]
            return next((arg for arg in found if isinstance(arg, type) and issubclass(arg, base)), None)
        """,
    "v1/state.py": """
        from pydantic import BaseModel

        class State(BaseModel):
            pass

        def state_cls(cls):
            return State
        """,
    "v1/graph.py": """
        from types import SimpleNamespace
        from typing import Any
        from pydantic import BaseModel, field_validator

        class MessageNode(BaseModel):
            parent: int | None = None
            message: Any
            sampled: bool = False

            @field_validator("message")
            @classmethod
            def typed(cls, message):
                assert message["role"] in ("system", "user", "assistant")
                return SimpleNamespace(**message)
        """,
    "v1/trace.py": """
        from typing import Any
        from pydantic import BaseModel
        from verifiers.v1.configs.agent import AgentConfig
        from verifiers.v1.graph import MessageNode
        from verifiers.v1.state import State

        class TraceTask(BaseModel):
            type: str
            data: Any
            key: str | None = None
            hash: str | None = None

        class AgentInfo(BaseModel):
            config: AgentConfig
            name: str = "agent"

        class ModelCall(BaseModel):
            node: int | None = None
            finish_reason: str | None = None

        class Reward(BaseModel):
            score: float
            weight: float = 1.0

        class Trace(BaseModel):
            task: TraceTask
            agent: AgentInfo
            state: State
            nodes: list[MessageNode] = []
            calls: list[ModelCall] = []
            rewards: dict[str, Reward | None] = {}
            metrics: dict[str, float | None] = {}
            root_reply: str | None = None
            ok: bool = False
            is_completed: bool = False

            @property
            def reward(self):
                return sum(each.score * each.weight for each in self.rewards.values() if each)

            @property
            def messages(self):
                return [node.message for node in self.nodes]

            @property
            def assistant_messages(self):
                return [node.message for node in self.nodes if node.sampled]

            @property
            def num_turns(self):
                return len(self.assistant_messages)

            @property
            def is_truncated(self):
                return self.calls[-1].finish_reason == "length"
        """,
    "v1/task.py": """
        import hashlib, inspect, json
        from typing import Any, ClassVar, Generic, TypeVar
        from pydantic import BaseModel
        from verifiers.v1.trace import Reward

        class TaskData(BaseModel):
            idx: int | None = None
            id: str | None = None
            name: str | None = None
            prompt: Any = None
            system_prompt: str | None = None

        DataT = TypeVar("DataT")

        def reward(weight=1.0):
            def mark(function):
                function.kind, function.weight = "reward", weight
                return function
            return mark

        def metric(function):
            function.kind = "metric"
            return function

        class Task(Generic[DataT]):
            NEEDS_CONTAINER: ClassVar[bool] = False

            def __init__(self, data, config=None):
                self.data, self.config = data, config

            def with_data(self, **update):
                return type(self)(self.data.model_copy(update=update), self.config)

            @property
            def hash(self):
                data = self.data.model_dump(mode="json", exclude_none=True)
                return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

            key = hash

            @classmethod
            def toolsets(cls, config):
                return []

            def hooks(self, kind):
                methods = [each for _, each in inspect.getmembers(self, inspect.ismethod)]
                return [each for each in methods if getattr(each, "kind", None) == kind]

            async def score(self, trace, runtime=None):
                given = {"task": self.data, "trace": trace}
                for function in (*self.hooks("metric"), *self.hooks("reward")):
                    asked = inspect.signature(function).parameters
                    value = await function(**{name: each for name, each in given.items() if name in asked})
                    if function.kind == "metric":
                        trace.metrics[function.__name__] = value
                    else:
                        trace.rewards[function.__name__] = Reward(score=value, weight=function.weight)
        """,
    "v1/taskset.py": """
        from typing import Generic, TypeVar

        TaskT, ConfigT = TypeVar("TaskT"), TypeVar("ConfigT")

        class Taskset(Generic[TaskT, ConfigT]):
            def __init__(self, config):
                self.config = config

            def __iter__(self):
                for index, task in enumerate(self.load()):
                    yield task.with_data(idx=index)
        """,
}


def interpreter(folder: Path) -> str:
    """The real package's interpreter where one is named, else one that finds the shapes above."""
    named = os.environ.get("RLVR_VERIFIERS_PYTHON")
    if named:
        return named
    for name, text in FILES.items():
        path = folder / "shapes" / "verifiers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}/shapes" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)
