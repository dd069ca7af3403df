"""Runs programs that nobody vouches for. Standard library only.

`Sandbox` lends boxes; `Program` goes in, `Result` (or one `Outcome` a call) comes out; `SandboxError` is our failure.
"""

from rlvr_sandbox.box import Box
from rlvr_sandbox.codec import CodecError
from rlvr_sandbox.environment import backend_from_environment, interpreter_from_environment, settings_from_environment
from rlvr_sandbox.errors import SandboxError
from rlvr_sandbox.launch import Interpreter
from rlvr_sandbox.protocol import Lender, LentBox
from rlvr_sandbox.remote import RemoteSandbox
from rlvr_sandbox.sandbox import BACKENDS, BackendReport, Sandbox, describe, probe, shared_sandbox, told_together
from rlvr_sandbox.types import Call, Limits, Outcome, Program, Result, Status
from rlvr_sandbox.zygote_process import Walls

__all__ = [
    "BACKENDS",
    "BackendReport",
    "Box",
    "Call",
    "CodecError",
    "Interpreter",
    "Lender",
    "LentBox",
    "Limits",
    "Outcome",
    "Program",
    "RemoteSandbox",
    "Result",
    "Sandbox",
    "SandboxError",
    "Status",
    "Walls",
    "backend_from_environment",
    "describe",
    "interpreter_from_environment",
    "probe",
    "settings_from_environment",
    "shared_sandbox",
    "told_together",
]
