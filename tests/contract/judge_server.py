"""A real HTTP server on this machine that speaks the chat-completions protocol, well or badly as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, str]]], str]


class JudgeServer:
    """`script` is gone through one entry a request, the last for ever: a status code, drip, drip headers, hang, cut, junk, redirect,
    or answer."""

    def __init__(self, answer: Answer, script: tuple[int | str, ...] = ("answer",)) -> None:
        self.answer = answer
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.retry_after: str | None = None
        self._released = threading.Event()
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                step = judge.script[min(len(judge.requests), len(judge.script) - 1)]
                judge.requests.append(body)
                judge.headers.append(dict(self.headers))
                judge.serve(self, body, step)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def serve(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], step: int | str) -> None:
        if isinstance(step, int):
            echo = handler.headers.get("Authorization", "")
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            self.send(handler, step, json.dumps({"error": f"no: {echo}"}).encode(), headers)
        elif step == "redirect":
            self.send(handler, 307, b"", {"Location": f"{self.endpoint}/elsewhere"})
        elif step == "junk":
            self.send(handler, 200, b"<html>busy</html>")
        elif step == "hang":
            self._released.wait(20)
        elif step == "cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "5000")
            handler.end_headers()
            handler.wfile.write(b'{"choices": [')
            handler.close_connection = True
        elif step in ("drip", "drip headers"):
            handler.send_response(200)
            handler.send_header("Content-Length", "5000")
            if step == "drip":
                handler.end_headers()
            else:
                handler.flush_headers()
            while not self._released.wait(0.1):
                try:
                    handler.wfile.write(b" ")
                except OSError:
                    return
        else:
            text = self.answer(body["messages"])
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            content = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
            self.send(handler, 200, json.dumps(content).encode())

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def kill(self) -> None:
        """Closes the port: from now on connections are refused."""
        self._released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
