"""Frames: whatever text holds arrives unchanged, in whatever portions the bytes come."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_verifiers.types import Completion, Task
from rlvr_verifiers.wire import FrameBuffer, completion_to_wire, pack, task_to_wire

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates included


@given(st.lists(any_text, max_size=5), st.integers(1, 7))
def test_any_text_survives_in_any_portions(texts: list[str], portion: int) -> None:
    data = b"".join(pack({"text": text}) for text in texts)
    buffer = FrameBuffer()
    received = [
        frame["text"] for start in range(0, len(data), portion) for frame in buffer.feed(data[start : start + portion])
    ]
    assert received == texts


def test_a_surrogate_pair_in_two_halves_stays_two_halves() -> None:
    text = "\ud83d" + "\ude00"
    (frame,) = FrameBuffer().feed(pack({"text": text}))
    assert len(frame["text"]) == 2


def test_a_foreign_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="announces"):
        list(FrameBuffer().feed(b"\xff\xff\xff\xffhello"))


def test_task_and_completion_travel_whole_but_for_token_arrays() -> None:
    task = Task(
        id="t",
        prompt=({"role": "user", "content": "?"},),
        verifier="exact",
        answer="x",
        verifier_args=MappingProxyType({"strip": True}),
    )
    (frame,) = FrameBuffer().feed(pack(task_to_wire(task)))
    arrived_task = Task.from_json(frame)
    assert arrived_task.verifier_args == {"strip": True}
    assert dataclasses.replace(arrived_task, verifier_args={}) == dataclasses.replace(task, verifier_args={})
    completion = Completion(
        text="x", messages=({"role": "assistant", "content": "x"},), token_ids=(1, 2), sampled_logprobs=(0.0, 0.0)
    )
    arrived = Completion.from_json(completion_to_wire(completion))
    assert (arrived.text, arrived.messages, arrived.token_ids) == ("x", completion.messages, ())


def test_what_is_not_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not plain JSON data"):
        pack({"info": {"when": object()}})
