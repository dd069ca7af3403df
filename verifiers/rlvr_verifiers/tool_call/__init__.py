"""`tool_call`: did the policy call the right tools with the right arguments? Nothing of its text is evaluated.

    parsed = parse_calls(text, "hermes", tools)     # ParsedCalls: content, calls, failures
    for call in parsed.calls:
        call.name, call.arguments
    for failure in parsed.failures:                 # show failure.message to the policy
        failure.kind                                # malformed, too_large

The same reader serves scoring and rollouts that execute the calls.
"""

from rlvr_verifiers.tool_call.calls import Call, ParsedCalls, ParseFailure
from rlvr_verifiers.tool_call.parse import FORMATS, parse_calls
from rlvr_verifiers.tool_call.verifier import ToolCall, gold_completion, wants_calls

__all__ = ["FORMATS", "Call", "ParseFailure", "ParsedCalls", "ToolCall", "gold_completion", "parse_calls", "wants_calls"]
