"""Environments: tools that are really run, over several turns, and the verifier that judges where they left things.

    from rlvr_verifiers.tool_env import ToolError, tool

    class Counter:
        def reset(self, task):                          # fresh instance for every rollout
            self.count = task.env_args.get("start", 0)

        @tool
        def add(self, amount: int) -> int:
            \"\"\"Adds to the counter and returns it.

            Args:
                amount: what is added; not negative.
            \"\"\"
            if amount < 0:
                raise ToolError("amount is negative")   # shown to the policy
            self.count += amount
            return self.count

A task names it (`environment: my_tools.py:Counter`, a built-in, or an entry point of the group `rlvr.environments`). In a rollout:

    environments = Environments(format="hermes")        # or auto
    async with environments.episode(task) as episode:
        messages = await episode.observe(turn)          # tool messages to show; empty where the turn calls no tool

`offered(task)` gives the function schemas for `Task.tools`. The verifier `tool_env` replays the recorded calls and the gold's.
"""

from rlvr_verifiers.tool_env.episode import Environments, Episode, EpisodeLimits
from rlvr_verifiers.tool_env.instance import ToolResult
from rlvr_verifiers.tool_env.registry import Environment, available, offered, resolve
from rlvr_verifiers.tool_env.tools import ToolError, tool
from rlvr_verifiers.tool_env.verifier import ToolEnv, gold_completion

__all__ = [
    "Environment",
    "Environments",
    "Episode",
    "EpisodeLimits",
    "ToolEnv",
    "ToolError",
    "ToolResult",
    "available",
    "gold_completion",
    "offered",
    "resolve",
    "tool",
]
