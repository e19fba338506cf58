"""Texts that come piece by piece."""

import asyncio
import json

import httpx
import numpy as np
import pytest

from pipelines.serving.request_errors import RequestError
from pipelines.serving.service import Address, Service
from pipelines.serving.settings import ModelSettings, Settings


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
        settings = Settings({"speller": ModelSettings(toy_exports / "speller")}, max_streams=2)
        service = Service(settings)
        async with service.running():
            while not service.ready:
                await asyncio.sleep(0.05)
            address = Address("speller")
            read = lambda signature: {"prompt": np.array([b"abc"], object)}  # noqa: E731
            async with service.stream(address, read):
                async with service.stream(address, read) as second:
                    with pytest.raises(RequestError, match="too many streams"):
                        await service.stream(address, read).__aenter__()
                    assert "".join([piece.text async for piece in second]) == "abc"
                async with service.stream(address, read) as third:  # the second has ended
                    assert "".join([piece.text async for piece in third]) == "abc"
            assert service.streams == 0

    asyncio.run(scenario())


def test_a_stream_takes_parameters_and_has_defaults_for_those_left_out(toys_server):
    def text(**inputs) -> str:
        body = {"inputs": {"prompt": ["x"], **inputs}}
        answer = toys_server.post("/v1/models/writer:stream", body)
        assert answer.status_code == 200, answer.text
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
        assert all(set(event) == {"text", "finished"} for event in events)
        return "".join(event["text"] for event in events)

    assert text(temperature=[0]) == "aaaaaa"
    assert text(temperature=[0], max_tokens=[2]) == "aa"
    drawn = text(max_tokens=[9])
    assert drawn.startswith(text()) and len(drawn) == 9 != len(text(seed=[2], max_tokens=[9], stop=[[drawn[3], "h"]]))
    assert text(stop=[[drawn[3]]]) == drawn[: drawn.index(drawn[3])]
    answer = toys_server.post("/v1/models/writer:stream", {"inputs": {"prompt": ["x"], "best": [1]}})
    assert answer.status_code == 400 and "Sent extra: {best}" in answer.json()["error"]
    answer = toys_server.post("/v1/models/writer:stream", {"inputs": {"prompt": ["x"], "max_tokens": [1000]}})
    assert answer.status_code == 400 and "max_tokens must be from 1 to 900" in answer.json()["error"]


def test_only_one_row_is_streamed(server):
    answer = server.post("/v1/models/speller:stream", {"inputs": {"prompt": ["a", "b"]}})
    assert answer.status_code == 400 and "one row" in answer.json()["error"]


def test_a_character_in_two_pieces_arrives_whole():
    from types import SimpleNamespace

    from pipelines.serving.models.streaming import Piece
    from pipelines.serving.models.streaming import pieces as in_pieces

    outputs = [{"text": np.array([part], object), "finished": np.array([False])} for part in (b"a\xc3", b"\xa9")]
    step = SimpleNamespace(inputs={})

    async def scenario():
        async def call(state):
            return outputs[1]

        return [piece async for piece in in_pieces(outputs[0], step, call, 2)]

    assert asyncio.run(scenario()) == [Piece("a", False), Piece("é", True)]
