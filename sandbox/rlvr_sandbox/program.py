"""Runs one program inside its box. From the moment the source is executed, this code belongs to the program too.

Nothing here decides anything: it hands over inputs one by one and sends back what it is told to. A program that takes over the
channel can send other values, and so can any program by returning them.
"""

from __future__ import annotations

import _socket
import atexit
import builtins
import contextlib
import gc
import io
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn, cast

from rlvr_sandbox.codec import CodecError
from rlvr_sandbox.line import CONTROL, LOADED, Line, framed, tell

MAX_MESSAGE = 500
"""Characters of an exception's text that leave the box."""


def serve() -> NoReturn:
    """Takes one program and runs it, in a box that has said that it is ready. Ends the process."""
    try:  # noqa: SIM105 - each step that a box is spared counts
        _run(_line)
    except EOFError:
        pass
    os._exit(0)


def _run(line: Line) -> None:
    _, mode, entry_point, preamble, source, max_bytes = line.receive()
    if mode == "function":
        _serve_calls(line, entry_point, preamble, source, max_bytes)
    elif mode == "check":
        _run_check(line, entry_point, preamble, source)
    else:
        _use_streams(piped=True)
        line.close()
        _run_main(preamble, source)


# -- before the first box ---------------------------------------------------------------------------------------------------


def rehearse() -> None:
    """Makes what every box needs, in the zygote, and runs a program of our own through it a few times: what has been executed
    before is quicker, and touches less memory that a box would have to copy."""
    _piped.extend(_make_streams(piped=True))
    _use_streams(piped=False)
    for _ in range(_REHEARSALS):
        ours, theirs = _socket.socketpair()
        for message in (
            ("program", "function", "f", "import math", _PLAY, 1000),
            *(("call", number, ([1, 2.5, "a"], True), {"b": None}) for number in range(1, 4)),
        ):
            ours.sendall(framed(tell(message)))
        ours.shutdown(_socket.SHUT_WR)
        with contextlib.suppress(EOFError):
            _run(Line(theirs.fileno()))
        ours.close()
        theirs.close()
    del sys.modules["solution"]
    _blank["solution"] = _blank_module("solution", _FILES["solution"])


_PLAY = """
import collections, functools, itertools, re, sys
from typing import Dict, List, Optional, Tuple

def f(a: List[float], c: bool, *, b: Optional[Dict[str, int]] = None) -> Tuple[int, str]:
    seen = {}
    for i, x in enumerate(a):
        if isinstance(x, str) and not x.isdigit():
            seen[x] = sorted(y for y in range(i) if y % 2 == 0) + [len(a[1:])]
        elif x > 1.5:
            seen[i] = max(abs(int(x)), 3)
    return len(seen), " ".join(str(x) for x in a) + f"{c}"
"""
_REHEARSALS = 20
_line = Line(CONTROL)
_piped: list[io.TextIOWrapper] = []
_kept: list[object] = []
"""Streams that are not needed any more: to let go of them costs a box more than to keep them."""


def _make_streams(*, piped: bool) -> list[io.TextIOWrapper]:
    """The streams of a fresh interpreter for what a box has at 0, 1 and 2: pipes, or the null device and a pipe."""
    before = [os.dup(number) for number in range(3)]
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for number, descriptor in enumerate((reading if piped else null, writing if piped else null, writing)):
            os.dup2(descriptor, number)
        return [_stream(0, "r"), _stream(1, "w"), _stream(2, "w")]
    finally:
        for number, descriptor in enumerate(before):
            os.dup2(descriptor, number)
        for descriptor in (*before, reading, writing, null):
            os.close(descriptor)


def _stream(descriptor: int, mode: str) -> io.TextIOWrapper:
    file = io.FileIO(descriptor, mode, closefd=False)
    raw = io.BufferedReader(file) if mode == "r" else io.BufferedWriter(file)
    errors = "backslashreplace" if descriptor == 2 else "surrogateescape"
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=descriptor == 2)
    stream.mode = mode  # type: ignore[attr-defined]
    return stream


def _use_streams(*, piped: bool) -> None:
    streams = _piped if piped else _make_streams(piped=False)
    _kept.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]


def _module(name: str, preamble: str, source: str) -> types.ModuleType:
    """A real, registered module: dataclasses and pickle look it up. Raises whatever the program raises."""
    module = sys.modules[name] = _blank[name]
    _source.text = source
    for part, file in ((preamble, "<preamble>"), (source, _FILES[name])):
        if part:
            exec(compile(part, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - this is what a box is for
    return module


class _Source:
    """What `linecache`, and so `inspect` and `traceback`, asks for the text of a module that is no file."""

    text = ""

    def get_source(self, _name: str) -> str:
        return self.text


_source = _Source()


def _blank_module(name: str, filename: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=filename, __loader__=_source)
    return module


_FILES = {"solution": "solution.py", "__main__": "main.py"}
_blank = {name: _blank_module(name, filename) for name, filename in _FILES.items()}
"""Made before the first box, which then has less to do."""


# -- functions ------------------------------------------------------------------------------------------------------------


def _serve_calls(line: Line, entry_point: str, preamble: str, source: str, max_bytes: int) -> None:
    try:
        module = _module("solution", preamble, source)
        function: Any = module.__dict__.get(entry_point)
        if not callable(function):
            raise NameError(f"the program defines no function {entry_point!r}")
    except BaseException as error:
        line.send("raised", 0, *_described(error))
        return
    line.write(LOADED)
    while True:
        _, number, args, kwargs = line.receive()
        _answer(line, number, function, args, kwargs, max_bytes)


def _answer(line: Line, number: int, function: Callable[..., Any], args: Any, kwargs: Any, max_bytes: int) -> None:
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        line.send("raised", number, *_described(error))
        return
    try:
        line.send_value("returned", number, value, max_bytes)
    except CodecError as error:
        line.send("bad_value", number, str(error))
    except BaseException as error:  # out of memory, or changed by a thread while it was written
        line.send("bad_value", number, f"it cannot be read: {_described(error)[0]}")


def _described(error: BaseException) -> tuple[str, str]:
    try:
        text = str(error)
        text = text[:MAX_MESSAGE] if type(text) is str else ""
    except BaseException:  # hostile exceptions have hostile texts
        text = ""
    return type.__dict__["__name__"].__get__(type(error))[:100], text


# -- programs -------------------------------------------------------------------------------------------------------------


def _run_main(preamble: str, source: str) -> NoReturn:
    """As `python main.py` would: exit status, traceback, threads and exit handlers included."""
    sys.argv = ["main.py"]
    sys.path.insert(0, os.getcwd())
    status = 0
    try:
        _module("__main__", preamble, source)
    except SystemExit as error:
        status = _exit_status(error)
    except BaseException as error:
        trace = error.__traceback__
        error.__traceback__ = trace.tb_next.tb_next if trace and trace.tb_next else trace  # from the program's own frame on
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    for finish in (_end_threads, cast(Any, atexit)._run_exitfuncs, _drop_globals, _flush):
        try:
            finish()
        except BaseException:
            status = status or 120
    os._exit(status)


def _end_threads() -> None:
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()


def _drop_globals() -> None:
    """As the interpreter does at its end: files that were left open are written out."""
    sys.modules["__main__"].__dict__.clear()
    gc.collect()


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def _exit_status(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


# -- checks ---------------------------------------------------------------------------------------------------------------


def _run_check(line: Line, entry_point: str, preamble: str, source: str) -> None:
    """Test code of the task against a stand-in that fetches each answer, by value, from the program's own box."""
    numbers = iter(range(1, 2**62))

    def candidate(*args: Any, **kwargs: Any) -> Any:
        number = next(numbers)
        line.send("call", number, args, kwargs)
        try:
            kind, answered, *rest = line.receive()
        except EOFError:  # the controller has hung up; an EOFError of the program's is raised below, for the check to see
            os._exit(0)
        if answered != number:
            raise RuntimeError("answers out of order")
        if kind == "returned":
            return rest[0]
        known = getattr(builtins, rest[0], None)
        ordinary = isinstance(known, type) and issubclass(known, Exception)
        raise cast("type[Exception]", known if ordinary else RuntimeError)(rest[1])

    candidate.__name__ = entry_point
    try:
        module = types.ModuleType("checks")
        sys.modules["checks"] = module
        module.__dict__.update(__builtins__=builtins)
        if preamble:
            exec(compile(preamble, "<preamble>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the task's code
        module.__dict__.update({entry_point: candidate, "candidate": candidate})
        exec(compile(source, "<check>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the task's code
        check: Any = module.__dict__.get("check")
        if callable(check):
            check(candidate)
    except BaseException as error:
        line.send("failed", 0, *_described(error))
    else:
        line.send("passed", 0)
