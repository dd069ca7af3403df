"""`rlvr sandbox`: the sandbox as a service, for verifiers on this machine or on others."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

import typer

from rlvr.errors import RlvrError

app = typer.Typer(
    help="Run programs for verifiers elsewhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def sandbox() -> None:
    """Run programs for verifiers elsewhere."""


@app.command()
def serve(
    address: Annotated[str, typer.Argument(help="unix:/path/to/socket, or tcp:host:port (port 0 takes a free one).")],
    backend: Annotated[str, typer.Option(help="auto, or a backend by name.")] = "auto",
    boxes: Annotated[int, typer.Option(help="Programs at once, 2 or more; 0: one per core and one more.", min=0)] = 0,
    queue: Annotated[
        int, typer.Option(help="Clients that may wait for a box; the next is told that it is busy.", min=0)
    ] = 64,
    drain_s: Annotated[
        float, typer.Option("--drain-s", help="Seconds that running programs get after SIGTERM.", min=0)
    ] = 30.0,
) -> None:
    """Lend boxes over a local socket, or over TCP to clients that know the token in RLVR_SANDBOX_TOKEN.

    RLVR_SANDBOX_PYTHON, RLVR_SANDBOX_IMAGE and RLVR_SANDBOX_PRELOAD say, here, what programs run in and what is warm.

    Clients set RLVR_SANDBOX=remote, RLVR_SANDBOX_ADDRESS and, if there is one, the same RLVR_SANDBOX_TOKEN. SIGTERM and Ctrl-C
    let running programs finish. TCP is not encrypted: use it on a network you trust, or through a tunnel.
    """
    from rlvr_sandbox import Sandbox, SandboxError, interpreter_from_environment
    from rlvr_sandbox.remote_wire import Address, parsed_address, token_from_environment
    from rlvr_sandbox.service import Service

    def started(where: Address, walls: str) -> None:
        typer.echo(f"serving on {where}: {places} boxes at once, {queue} clients may wait; {walls}", err=True)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Service(pool, token=token, places=places, queue=queue, drain_s=drain_s).serve(
            parsed_address(address), stop, started
        )

    places = boxes or len(os.sched_getaffinity(0)) + 1
    try:
        token = token_from_environment()
        with Sandbox(backend, interpreter=interpreter_from_environment(backend), zygotes=places) as pool:
            asyncio.run(run())
    except SandboxError as error:
        raise RlvrError(f"rlvr sandbox serve: {error}") from None
    typer.echo("drained", err=True)
