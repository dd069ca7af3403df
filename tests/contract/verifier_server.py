"""A real `rlvr verifiers serve` application on a free port, for tests of it and of `remote`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import uvicorn

from rlvr_verifiers.service.app import make_app


@contextlib.contextmanager
def serving(verifiers: Sequence[str], *, token: str | None = None, **options: Any) -> Iterator[str]:
    """Its address, which RLVR_VERIFIER_URL names too while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = make_app(verifiers, token=token, workers=1, **options)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.01)
        address = f"http://127.0.0.1:{port}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RLVR_VERIFIER_URL", address)
            if token is not None:
                patch.setenv("RLVR_VERIFIER_TOKEN", token)
            yield address
    finally:
        server.should_exit = True
        thread.join()
