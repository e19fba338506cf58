"""Mini-batches: every example once an epoch, in an order that seed and step alone decide."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.data.batches import make_batches, make_token_batches, padded, raw_batches, tensors


def plan(encode, augment=lambda x, seed: x):
    """What `make_batches` asks of a preprocessor."""
    return SimpleNamespace(example=lambda raw, training: encode(raw), augment=augment)


def stream(first_step=0, seed=0, size=4, cache=True, count=10, steps=6):
    examples = pd.DataFrame({"x": np.arange(count)})
    batches = make_batches(examples, plan(lambda raw: (raw["x"],)), seed, size=size, cache=cache)
    taken = batches.stream(first_step).take(steps)
    return batches, [batch.numpy().tolist() for batch in taken]


@pytest.mark.parametrize("cache", [True, False, "auto"])
def test_an_epoch_holds_every_example_once_and_the_next_another_order(cache):
    batches, taken = stream(cache=cache)
    assert batches.steps_per_epoch == 3
    first, second = ([i for batch in epoch for i in batch] for epoch in (taken[:3], taken[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("first_step", [1, 3, 5])
def test_a_stream_taken_up_goes_on_as_the_uninterrupted_one(first_step):
    assert stream(first_step, steps=6 - first_step)[1] == stream()[1][first_step:]


def test_the_seed_decides_the_order():
    assert stream(seed=1)[1] == stream(seed=1)[1] != stream(seed=2)[1]


@pytest.mark.parametrize("size", ["full", 10, 99])
def test_full_batches_hold_all_examples(size):
    batches, taken = stream(size=size, steps=2)
    assert batches.steps_per_epoch == 1
    assert [len(batch) for batch in taken] == [10, 10]


def test_tensors_keep_numbers_texts_and_lists():
    dates = pd.to_datetime(pd.Series(["2024-02-29", None]))
    table = pd.DataFrame({"n": [1.5, np.nan], "i": [1, 2], "t": ["ä", ""], "l": [["a", "b"], ["c"]], "d": dates})
    columns = tensors(table)
    assert columns["n"].dtype.name == "float64" and np.isnan(columns["n"][1])  # a table of numbers may need it
    assert columns["i"].dtype.name == "float32"
    assert columns["d"].numpy().tolist() == [b"2024-02-29", b""]
    assert columns["t"].numpy().tolist() == ["ä".encode(), b""]
    assert columns["l"].to_list() == [[b"a", b"b"], [b"c"]]


def test_files_are_read_when_a_batch_needs_them_and_not_kept_unless_cached(tmp_path):
    paths = [tmp_path / str(i) for i in range(4)]
    for path in paths:
        path.write_text("before")
    examples = pd.DataFrame({"x": paths})
    streams = {}
    for cache in (False, True):
        batches = make_batches(examples, plan(lambda raw: (raw["x"],)), 0, size=2, cache=cache)
        streams[cache] = batches.stream(0)
    for path in paths:
        path.write_text("after")
    assert next(iter(streams[False])).numpy().tolist() == [b"after"] * 2
    assert next(iter(streams[True])).numpy().tolist() == [b"before"] * 2
    assert [part["x"].numpy().tolist() for part in raw_batches(examples)] == [[b"after"] * 4]


@pytest.mark.parametrize(("limit", "kept"), [(24, True), (23, False)])
def test_auto_keeps_what_fits(limit, kept, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.data.batches.CACHE_BYTES", limit)
    paths = [tmp_path / str(i) for i in range(6)]
    for path in paths:
        path.write_text("1")

    def encode(raw):
        return (tf.strings.to_number(raw["x"]),)  # four bytes each

    batches = make_batches(pd.DataFrame({"x": paths}), plan(encode), 0, size=6, cache="auto")
    stream = batches.stream(0)
    for path in paths:
        path.write_text("2")
    assert next(iter(stream)).numpy().tolist() == [1.0 if kept else 2.0] * 6


@pytest.mark.parametrize("first_step", [0, 2, 4])
def test_each_step_is_augmented_by_its_own_seed(first_step):
    def augment(x, seed):
        return tf.cast(seed, tf.int64)

    batches = make_batches(pd.DataFrame({"x": range(6)}), plan(lambda raw: (raw["x"],), augment), 7, size=2, cache=True)
    seeds = [seed.numpy().tolist() for seed in batches.stream(first_step).take(3)]
    assert seeds == [[7, first_step], [7, first_step + 1], [7, first_step + 2]]


def ragged_stream(by_length, cache, count=64, size=8, seed=0):
    lengths = np.random.default_rng(0).integers(1, 30, count)
    examples = pd.DataFrame({"x": [[f"{row}"] * length for row, length in enumerate(lengths)]})

    def encode(raw):
        return (tf.ragged.boolean_mask(raw["x"], raw["x"] != ""),)

    batches = make_batches(examples, plan(encode), seed, size=size, cache=cache, by_length=by_length)
    taken = [batch.numpy() for batch in batches.stream(0).take(2 * batches.steps_per_epoch)]
    return [taken[: batches.steps_per_epoch], taken[batches.steps_per_epoch :]]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("count", [320, 317])
def test_examples_of_about_the_same_length_share_a_batch(cache, count):
    share = {}
    for by_length in (True, False):
        epochs = ragged_stream(by_length, cache, count)
        for epoch in epochs:
            assert sorted(int(row[0]) for batch in epoch for row in batch) == list(range(count))
        share[by_length] = np.mean([(batch == b"").mean() for batch in epochs[0]])
        assert [batch[:, 0].tolist() for batch in epochs[0]] != [batch[:, 0].tolist() for batch in epochs[1]]
    assert share[True] < 0.15 and share[False] > 0.35


def test_batches_by_length_come_in_no_order_of_length():
    widths = [batch.shape[1] for batch in ragged_stream(True, True)[0]]
    assert widths != sorted(widths) and widths != sorted(widths, reverse=True)


def test_nothing_is_padded_to_one_step():
    empty = tf.RaggedTensor.from_row_lengths(tf.constant([], tf.string), [0, 0])
    assert padded(empty).shape == (2, 1)


def token_stream(first_step=0, tokens=40, steps=24, cache=True):
    lengths = np.random.default_rng(0).integers(1, 20, 60)
    examples = pd.DataFrame({"row": range(60), "text": ["x" * length for length in lengths]})
    encoder = SimpleNamespace(
        example=lambda raw, training: (
            tf.strings.bytes_split(raw["text"]),
            tf.RaggedTensor.from_tensor(raw["row"][:, None]),
        ),
        augment=lambda *encoded, seed: encoded,
    )
    batches = make_token_batches(examples, encoder, 3, tokens=tokens, cache=cache)
    taken = [(batch.numpy(), rows.numpy()[:, 0].astype(int)) for batch, rows in batches.stream(first_step).take(steps)]
    return lengths, batches, taken


def test_token_batches_hold_each_example_once_and_about_as_many_tokens():
    lengths, batches, taken = token_stream(steps=40)
    steps = batches.steps_per_epoch
    assert steps == lengths.sum() // 40
    epochs = [[row for _, rows in taken[at : at + steps] for row in rows] for at in (0, steps)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(60))
    assert epochs[0] != epochs[1]
    for _, rows in taken[:steps]:
        assert len(rows) > 0
        assert abs(lengths[rows].sum() - lengths.sum() / steps) < 20  # at most one example more or less
    assert lengths.sum() / sum(batch.size for batch, _ in taken[:steps]) > 0.7  # little is padding


def test_token_batches_taken_up_go_on_as_the_uninterrupted_ones():
    whole, later = token_stream()[2], token_stream(first_step=20, steps=4)[2]
    for (_, rows), (_, own) in zip(whole[20:], later, strict=True):
        np.testing.assert_array_equal(rows, own)


def test_an_example_with_more_tokens_than_a_batch_is_one():
    lengths, batches, taken = token_stream(tokens=5, steps=60)
    assert batches.steps_per_epoch == lengths.sum() // lengths.max()
    assert all(len(rows) for _, rows in taken)
