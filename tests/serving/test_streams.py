"""Texts that come piece by piece."""

import asyncio
import json

import httpx
import numpy as np


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


def test_only_one_row_is_streamed(server):
    answer = server.post("/v1/models/speller:stream", {"inputs": {"prompt": ["a", "b"]}})
    assert answer.status_code == 400 and "one row" in answer.json()["error"]


def test_a_character_in_two_pieces_arrives_whole():
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack
    from types import SimpleNamespace

    from pipelines.serving.models.streaming import Piece
    from pipelines.serving.models.streaming import pieces as in_pieces

    outputs = [{"text": np.array([part], object), "finished": np.array([False])} for part in (b"a\xc3", b"\xa9")]
    step = SimpleNamespace(inputs={}, call=lambda state: outputs[1])

    async def scenario():
        return [piece async for piece in in_pieces(outputs[0], step, ThreadPoolExecutor(1), 2, ExitStack())]

    assert asyncio.run(scenario()) == [Piece("a", False), Piece("é", True)]
