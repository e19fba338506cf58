"""Requests that run together get what each would get alone."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import toys

from pipelines.serving.models.batching import Batcher, Sizes, parts, run_together
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import Kind, RequestError
from pipelines.serving.settings import Settings


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Version:
    return Version(toys.write_words(tmp_path_factory.mktemp("batching") / "words"))


def texts(*values: str) -> dict[str, np.ndarray]:
    return {"text": np.array([value.encode() for value in values], object)}


def plain(outputs) -> dict:
    return {name: array.tolist() for name, array in outputs.items()}


def test_rows_filled_up_by_a_neighbour_are_cut_back(words):
    signature = words.signatures["serving_default"]
    requests = [texts("a bc def ghij"), texts("", "a  b"), texts(""), texts("xyz")]
    together = run_together(signature, requests, [1, 2, 1, 1])
    for inputs, answer in zip(requests, together, strict=True):
        assert plain(answer) == plain(run_together(signature, [inputs], [len(inputs["text"])])[0])
        assert plain(answer) == plain(signature.call(inputs))


def test_inputs_of_unequal_length_are_filled_up_where_the_outputs_are_of_fixed_size(words):
    signature = words.signatures["sums"]
    requests = [{"numbers": np.float32([[1, 2, 3]])}, {"numbers": np.float32([[4], [5]])}]
    first, second = run_together(signature, requests, [1, 2])
    assert (plain(first), plain(second)) == ({"sum": [6]}, {"sum": [4, 5]})


def test_numbers_of_varying_length_do_not_run_together_since_a_zero_may_be_an_answer(words):
    signature = words.signatures["echo"]
    assert not signature.batchable
    requests = [{"numbers": np.int32([[1, 0]])}, {"numbers": np.int32([[1, 2, 3]])}]
    assert [plain(answer) for answer in run_together(signature, requests, [1, 1])] == [
        {"numbers": [[1, 0]]},
        {"numbers": [[1, 2, 3]]},
    ]


def test_a_bad_request_harms_none_that_it_runs_with(tmp_path):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (4, 4), 8).save(buffer, "PNG")
    pictures = Version(toys.write_pictures(tmp_path / "pictures")).signatures["serving_default"]
    requests = [{"image": np.array([content], object)} for content in (buffer.getvalue(), b"no image")]
    good, bad = run_together(pictures, requests, [1, 1])
    assert plain(good) == {"mean": [8]}
    assert isinstance(bad, RequestError) and bad.kind is Kind.INVALID and "Unknown image file format" in bad.reason


class Gate:
    """A signature that answers only when it is let."""

    batchable, inputs = True, {}

    def __init__(self):
        self.open, self.batches = threading.Event(), []

    def group(self, inputs):
        return None

    def merge(self, requests):
        return {"x": np.concatenate([inputs["x"] for inputs in requests])}

    def call(self, inputs):
        self.open.wait(10)
        self.batches.append(len(inputs["x"]))
        return inputs

    def split(self, outputs, rows):
        return [{"x": part} for part in np.split(outputs["x"], np.cumsum(rows)[:-1])]


def batcher(gate: Gate, **settings) -> Batcher:
    alone = Settings({}, workers=os.cpu_count(), **settings)  # the cores shared out: one batch at a time
    return Batcher(gate, ThreadPoolExecutor(2), alone, lambda running, waiting: None)


def one(value: float) -> tuple[dict[str, np.ndarray], Sizes]:
    return {"x": np.array([value])}, Sizes([0], [0])


def test_requests_gather_while_others_run_up_to_the_largest_batch():
    async def scenario():
        gate = Gate()
        batches = batcher(gate, max_batch_size=3)
        answers = [asyncio.create_task(batches.answer(*one(n))) for n in range(6)]
        await asyncio.sleep(0.05)
        gate.open.set()
        assert [answer["x"].tolist() for answer in await asyncio.gather(*answers)] == [[n] for n in range(6)]
        assert gate.batches == [1, 3, 2]

    asyncio.run(scenario())


def test_a_batch_that_is_not_full_waits_as_long_as_it_is_told():
    async def scenario():
        gate = Gate()
        gate.open.set()
        batches = batcher(gate, batch_timeout_ms=50)
        await asyncio.gather(*(batches.answer(*one(n)) for n in range(3)))
        assert gate.batches == [3]

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_who_has_left_is_not_answered():
    async def scenario():
        gate = Gate()
        batches = batcher(gate, max_queue=2)
        tasks = [asyncio.create_task(batches.answer(*one(n))) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError) as error:
            await batches.answer(*one(9))
        assert error.value.kind is Kind.BUSY and error.value.headers == {"Retry-After": "1"}
        tasks[1].cancel()
        gate.open.set()
        await asyncio.gather(tasks[0], tasks[2])
        assert gate.batches == [1, 1] and batches.waiting == 0

    asyncio.run(scenario())


def test_served_entities_do_not_depend_on_who_asks_at_the_same_time(server):
    requests = [["Mr Bob Lee lives in Oslo 7."], ["nothing"], ["Ms Ann lives in Rome 8. Mr Dan Ng lives in New York."]]
    alone = [server.post("/v1/models/tagger:predict", {"instances": texts}).json() for texts in requests]
    with ThreadPoolExecutor(12) as pool:
        many = list(
            pool.map(lambda n: server.post("/v1/models/tagger:predict", {"instances": requests[n % 3]}), range(36))
        )
    for number, answer in enumerate(many):
        expected = alone[number % 3]["predictions"][0]
        (row,) = answer.json()["predictions"]
        assert row.pop("probability") == pytest.approx(expected["probability"], rel=1e-4)
        assert row == {name: value for name, value in expected.items() if name != "probability"}
    rows = [line for line in server.get("/metrics").text.splitlines() if 'batch_rows_count{model="tagger"}' in line]
    sums = [line for line in server.get("/metrics").text.splitlines() if 'batch_rows_sum{model="tagger"}' in line]
    assert float(sums[0].split()[1]) > float(rows[0].split()[1]), "some ran together"


def plain_sizes(lengths: list[int]) -> Sizes:
    return Sizes([0] * len(lengths), lengths)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=200))
def test_rows_are_divided_so_that_padding_is_bounded(lengths):
    divided = parts(plain_sizes(lengths), Settings({}))
    assert sorted(row for rows in divided for row in rows) == list(range(len(lengths)))
    for rows in divided:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= 256 << 10
        assert len(rows) <= 64


def test_a_long_text_does_not_run_with_short_ones_and_every_row_gets_its_own_answer(words):
    signature = words.signatures["serving_default"]

    async def scenario():
        texts_of_one = ["a b", "c" * 90_000, "de f g", "", "h " * 20_000, *(f"{n} {n}" for n in range(80))]
        inputs = texts(*texts_of_one)
        sizes = plain_sizes([len(text) for text in texts_of_one])
        batches = []
        answered = await Batcher(
            signature, ThreadPoolExecutor(1), Settings({}), lambda rows, waiting: batches.append(rows)
        ).answer(inputs, sizes)
        assert plain(answered) == plain(run_together(signature, [inputs], [len(texts_of_one)])[0])
        assert sorted(batches) == [2, 19, 64], "the two long ones are alike enough"

    asyncio.run(scenario())


def test_requests_of_long_and_short_texts_wait_in_one_queue_but_run_apart():
    async def scenario():
        gate = Gate()
        batches = batcher(gate)
        lengths = (1, 10, 50_000, 20, 60_000, 30)
        answers = [
            asyncio.create_task(batches.answer({"x": np.array([length])}, plain_sizes([length]))) for length in lengths
        ]
        await asyncio.sleep(0.05)
        gate.open.set()
        assert [answer["x"].tolist() for answer in await asyncio.gather(*answers)] == [[n] for n in lengths]
        assert sorted(gate.batches) == [1, 2, 3]

    asyncio.run(scenario())
