"""Texts that come piece by piece."""

import asyncio
import json

import httpx
import numpy as np
import pytest

from pipelines.serving.request_errors import RequestError
from pipelines.serving.service import Address, Service
from pipelines.serving.settings import Settings


def pieces(server, prompt: str) -> list[dict]:
    body = {"inputs": {"prompt": [prompt]}}
    with httpx.stream("POST", f"{server.url}/v1/models/speller:stream", json=body, timeout=60) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]


def test_each_piece_is_an_event_until_it_is_finished(server):
    assert pieces(server, "abc") == [
        {"text": "a", "finished": False},
        {"text": "b", "finished": False},
        {"text": "c", "finished": True},
    ]
    assert pieces(server, "x") == [{"text": "x", "finished": True}]


def test_a_stream_without_its_inputs_is_refused_before_it_starts(server):
    for body in ({}, {"inputs": {"text": ["a"]}}, {"inputs": {"prompt": [1]}}):
        answer = server.post("/v1/models/speller:stream", body)
        assert answer.status_code == 400 and answer.json()["error"]


def test_who_leaves_early_leaves_nothing_behind(server):
    body = {"inputs": {"prompt": ["a" * 900]}}
    for _ in range(40):  # more than may run at a time
        with httpx.stream("POST", f"{server.url}/v1/models/speller:stream", json=body, timeout=60) as answer:
            assert answer.status_code == 200
            next(answer.iter_lines())
    assert pieces(server, "ab")[-1]["finished"]


def test_no_more_streams_run_at_a_time_than_allowed(toy_exports):
    async def scenario():
        settings = Settings(folders=(toy_exports / "speller",), max_streams=2)
        service = Service(settings)
        async with service.running():
            while not service.ready:
                await asyncio.sleep(0.05)
            address = Address("speller")
            read = lambda signature: {"prompt": np.array([b"abc"], object)}  # noqa: E731
            first, second = [await service.stream(address, read) for _ in range(2)]
            with pytest.raises(RequestError, match="too many streams"):
                await service.stream(address, read)
            assert "".join([piece.text async for piece in first]) == "abc"
            third = await service.stream(address, read)  # the first has ended
            assert "".join([piece.text async for piece in third]) == "abc"
            await second.aclose()

    asyncio.run(scenario())


def test_only_one_row_is_streamed(server):
    answer = server.post("/v1/models/speller:stream", {"inputs": {"prompt": ["a", "b"]}})
    assert answer.status_code == 400 and "one row" in answer.json()["error"]


def test_a_character_in_two_pieces_arrives_whole():
    from contextlib import ExitStack
    from types import SimpleNamespace

    from pipelines.serving.models.streaming import Piece
    from pipelines.serving.models.streaming import pieces as in_pieces

    outputs = [{"text": np.array([part], object), "finished": np.array([False])} for part in (b"a\xc3", b"\xa9")]
    step = SimpleNamespace(inputs={})

    async def scenario():
        async def call(state):
            return outputs[1]

        return [piece async for piece in in_pieces(outputs[0], step, call, 2, ExitStack())]

    assert asyncio.run(scenario()) == [Piece("a", False), Piece("é", True)]
