"""Texts that come piece by piece."""

import asyncio
import json

import httpx
import numpy as np
import pytest
import tensorflow as tf

from pipelines.serving.models.signatures import Signature
from pipelines.serving.models.stream_batches import Row, StepBatches
from pipelines.serving.models.streaming import Piece
from pipelines.serving.models.streaming import pieces as in_pieces
from pipelines.serving.models.tensors import Spec
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
    told = [{"text": np.array([part], object), "finished": np.array([False])} for part in (b"a\xc3", b"\xa9")]
    rows = [Row(each, {}, 0) for each in told]

    async def scenario():
        async def step(row):
            return rows[1]

        return [piece async for piece in in_pieces(rows[0], step, 2)]

    assert asyncio.run(scenario()) == [Piece("a", False), Piece("é", True)]


class Counted:
    """A step that counts up to the `last` of each row, and tells how many it has seen, which longer rows pad."""

    def __init__(self, rows):
        spec = {
            name: Spec(name, tf.int32, (rows, None) if name == "seen" else (rows,)) for name in ("at", "last", "seen")
        }
        told = {"text": Spec("text", tf.string, (rows,)), "finished": Spec("finished", tf.bool, (rows,))}
        self.sizes = []
        self.step = Signature("stream_step", "", spec, {**told, **spec}, self)

    def __call__(self, at, last, seen):
        self.sizes.append(len(at))
        tf.debugging.assert_less(last, 100)
        text = tf.strings.as_string(at) + "/" + tf.strings.as_string(tf.math.count_nonzero(seen, axis=1))
        most = tf.reduce_max(at)
        seen = tf.where(tf.range(most + 1) == at[:, None], 1, tf.pad(seen[:, :most], [[0, 0], [0, 1]]))
        return {"text": text, "finished": at >= last, "at": at + 1, "last": last, "seen": seen}

    def first(self, last):
        kept = {"at": tf.constant([1]), "last": tf.constant([last]), "seen": tf.ones([1, 1], tf.int32)}
        return Row({"text": np.array([b""], object), "finished": np.array([False])}, kept, 0)


async def stream_of(batches, first, pause=0.0):
    texts = []
    async for piece in in_pieces(first, batches.answer, 1000):
        texts.append(piece.text)
        await asyncio.sleep(pause)
    return texts[1:]


async def at_once(function, *arguments):
    await asyncio.sleep(0.001)
    return function(*arguments)


@pytest.mark.parametrize(("rows", "most"), [(None, 4), (1, 1)])
def test_streams_join_and_leave_the_batch_of_their_steps(rows, most):
    counted = Counted(rows)

    async def scenario():
        batches = StepBatches(counted.step, at_once)
        early = [asyncio.create_task(stream_of(batches, counted.first(last))) for last in (9, 3, 30)]
        await asyncio.sleep(0.008)
        late = [asyncio.create_task(stream_of(batches, counted.first(5)))]
        return [await task for task in early + late]

    texts = asyncio.run(scenario())
    assert [len(each) for each in texts] == [9, 3, 30, 5]
    for each in texts:
        assert each == [f"{at}/{at}" for at in range(1, len(each) + 1)]  # as each alone, whatever the padding
    assert max(counted.sizes) == most and (rows or counted.sizes[-1] == 1)
    assert sum(counted.sizes) == 47


def test_a_stream_whose_client_reads_slowly_or_leaves_does_not_stop_the_others():
    counted = Counted(None)

    async def scenario():
        batches = StepBatches(counted.step, at_once)
        slow = asyncio.create_task(stream_of(batches, counted.first(50), pause=0.5))
        gone = asyncio.create_task(stream_of(batches, counted.first(50)))
        quick = asyncio.create_task(stream_of(batches, counted.first(40)))
        await asyncio.sleep(0.01)
        gone.cancel()
        assert len(await quick) == 40
        assert not slow.done()
        slow.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_step_that_fails_ends_only_its_own_stream():
    counted = Counted(None)

    async def scenario():
        batches = StepBatches(counted.step, at_once)
        return await asyncio.gather(
            *(stream_of(batches, counted.first(last)) for last in (5, 100, 6)), return_exceptions=True
        )

    first, bad, other = asyncio.run(scenario())
    assert (len(first), len(other)) == (5, 6) and isinstance(bad, RequestError)
