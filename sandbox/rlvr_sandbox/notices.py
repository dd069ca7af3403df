"""System calls that boxes were refused: the kernel asks the zygote, the answer is always no, and it is counted.

Nothing is ever let through or done in a box's name, so that what the call was about is not even looked at.
"""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import errno
import select
import struct

from rlvr_sandbox import kernel

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
_NOTICE_BYTES = 80
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags


class Notices:
    """`listener`: the descriptor that came with the filter."""

    def __init__(self, listener: int, channel: _socket.socket) -> None:
        self._listener = listener
        self._channel = channel.fileno()
        self._poll = select.poll()
        for descriptor in (self._channel, listener):
            self._poll.register(descriptor, select.POLLIN)
        self.count = 0
        """Since it was set to 0."""

    def answer_until_asked(self) -> None:
        """Refuses calls until there is something on the channel."""
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._listener in ready:
                self._refuse()
            if self._channel in ready:
                return

    def _refuse(self) -> None:
        notice = ctypes.create_string_buffer(_NOTICE_BYTES)
        with contextlib.suppress(OSError):  # who asked is dead
            kernel.syscall(kernel.number("ioctl"), self._listener, _RECEIVE, notice, what="receive a notice")
            self.count += 1
            answer = ctypes.create_string_buffer(
                _ANSWER.pack(struct.unpack_from("=Q", notice)[0], 0, -errno.EPERM, 0), _ANSWER.size
            )
            kernel.syscall(kernel.number("ioctl"), self._listener, _SEND, answer, what="answer a notice")
