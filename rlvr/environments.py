"""Environments as a run has them: the config's limits, around what runs the tools."""

from __future__ import annotations

from rlvr.config.schema import ToolsConfig
from rlvr_verifiers.tool_env import Environments, EpisodeLimits


def open_environments(config: ToolsConfig) -> Environments:
    """Opens an episode, with a fresh state, for each rollout of a task that names an environment."""
    limits = EpisodeLimits(call_timeout_s=config.call_timeout_s, output_chars=config.output_characters, calls=config.calls)
    return Environments(config.format, limits)
