"""Who gets a box of a service, and in which order; and what is said on the wire."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any

import pytest

from rlvr_sandbox import Limits, Outcome, Program, Result, SandboxError
from rlvr_sandbox import service as service_module
from rlvr_sandbox.remote_wire import (
    outcome_from_wire,
    outcome_to_wire,
    packed,
    parsed_address,
    program_from_wire,
    program_to_wire,
    proof,
    proven,
    result_from_wire,
    result_to_wire,
    token_from_environment,
    unpacked,
)
from rlvr_sandbox.service import Places, _BusyError


def over_the_wire(message: tuple[Any, ...]) -> tuple[Any, ...]:
    return unpacked(packed(*message)[4:])


def test_programs_outcomes_and_results_come_over_whole() -> None:
    program = Program(
        source="x\ud800", mode="function", entry_point="f", preamble="p", limits=Limits(case_wall_s=0.5, files=7)
    )
    assert program_from_wire(over_the_wire(("open", program_to_wire(program)))[1]) == program
    outcome = Outcome(status="ok", value={(1, "a"): [math.inf, b"\0", {2}]}, error_type="E", message="m", wall_s=0.1)
    assert outcome_from_wire(over_the_wire(outcome_to_wire(outcome))) == outcome
    result = Result(status="error", stdout=b"\xff", stderr="e", exit_code=None, cpu_s=1.5, events=("early_exit",))
    assert result_from_wire(over_the_wire(result_to_wire(result))) == result
    assert {field.name for field in dataclasses.fields(Program)} == program_to_wire(program).keys()


def test_a_proof_is_of_this_token_this_role_and_these_nonces() -> None:
    given = proof(b"token", "client", b"nonces")
    assert proven(given, b"token", "client", b"nonces")
    for token, role, nonces in (
        (b"tokem", "client", b"nonces"),
        (b"token", "service", b"nonces"),
        (b"token", "client", b"other"),
    ):
        assert not proven(given, token, role, nonces)
    assert not proven("text", b"token", "client", b"nonces")


def test_addresses_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parsed_address("unix:/tmp/box.sock")) == "unix:/tmp/box.sock"
    assert parsed_address("tcp:[::1]:7077").host == "::1"
    assert parsed_address("tcp:host:7077").port == 7077
    monkeypatch.setenv("RLVR_SANDBOX_TOKEN", "too short")
    with pytest.raises(SandboxError, match="16 or more") as caught:
        token_from_environment()
    assert "too short" not in str(caught.value)
    monkeypatch.delenv("RLVR_SANDBOX_TOKEN")
    assert token_from_environment() == b""


async def held(places: Places, count: int, log: list[str], name: str, until: asyncio.Event) -> None:
    async with places.taken(count):
        log.append(name)
        await until.wait()


def test_places_are_given_in_the_order_of_asking_and_pairs_do_not_starve() -> None:
    async def main() -> list[str]:
        places, log = Places(2, 8), list[str]()
        ends = [asyncio.Event() for _ in range(5)]
        tasks = []
        for name, count, end in zip("abPcd", (1, 1, 2, 1, 1), ends, strict=True):
            tasks.append(asyncio.create_task(held(places, count, log, name, end)))
            await asyncio.sleep(0)
        assert log == ["a", "b"]
        ends[0].set()
        await asyncio.sleep(0.01)
        assert log == ["a", "b"]  # one place is free, and it is kept for the pair that asked first
        for end in ends[1:]:
            end.set()
        await asyncio.gather(*tasks)
        assert places.free == 2
        return log

    assert asyncio.run(main()) == ["a", "b", "P", "c", "d"]


def test_a_full_queue_a_long_wait_and_a_drain_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        places, log, end = Places(1, 1), list[str](), asyncio.Event()
        running = asyncio.create_task(held(places, 1, log, "a", end))
        waiting = asyncio.create_task(held(places, 1, log, "b", end))
        await asyncio.sleep(0)
        with pytest.raises(_BusyError, match="1 boxes are in use and 1 clients wait"):
            await held(places, 1, log, "c", end)
        with pytest.raises(_BusyError, match="no box became free within"):
            await waiting
        leaving = asyncio.create_task(held(places, 1, log, "d", end))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        drained = asyncio.create_task(held(places, 1, log, "e", end))
        await asyncio.sleep(0)
        places.drain()
        with pytest.raises(_BusyError, match="draining"):
            await drained
        with pytest.raises(_BusyError, match="draining"):
            await held(places, 1, log, "f", end)
        end.set()
        await running
        assert (places.free, log) == (1, ["a"])

    monkeypatch.setattr(service_module, "QUEUE_S", 0.05)
    asyncio.run(main())
