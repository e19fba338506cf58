"""A text that is written piece by piece is the one that is written as a whole."""

from types import SimpleNamespace

import pytest
import tensorflow as tf
from tasks.language_model.test_models import make

from pipelines.decoding import Choice, Decoding
from pipelines.tasks.language_model.streams import streams
from pipelines.tasks.language_model.task import write

LETTERS = tf.constant(["", "", "", "", *"abcdef", "é"])
PROMPT = tf.constant([[5, 6, 4]])
LETTERED = SimpleNamespace(
    tokenizer=SimpleNamespace(decode=lambda ids: tf.strings.reduce_join(tf.gather(LETTERS, ids), axis=-1))
)


def writer(model):
    """Write texts as a whole, in graph: by their seed and where to stop."""

    @tf.function
    def text(seed, stop):
        choice = Choice(*(tf.constant([value]) for value in model.decoding[:4]), seed)
        return write(model, LETTERED, PROMPT, choice, stop)["completion"][0]

    return lambda seed, stop: text(tf.constant([seed]), tf.constant([stop])).numpy()


def pieces(model) -> list[bytes]:
    start, step = streams(
        model, LETTERED, lambda texts: (tf.tile(PROMPT, [tf.size(texts), 1]), tf.fill([tf.size(texts)], 3))
    ).values()
    begin, go_on = (tf.function(call.answer, input_signature=[call.signature]) for call in (start, step))
    answer, texts = begin({"prompt": tf.constant(["any"])}), []
    while True:
        texts.append(answer["text"].numpy()[0])
        if answer["finished"].numpy().all():
            return texts
        answer = go_on({name: answer[name] for name in step.signature})


@pytest.mark.parametrize("rung", ["ngram", "gru", "rotary"])  # one of each kind of state
def test_pieces_are_the_text_as_a_whole(rung):
    model = make(rung)
    model.decoding = Decoding(20, 1.5, 0, 1.0, 0, "")  # longer than the context, so that it is read again
    whole = writer(model)
    seed = next(seed for seed in range(100) if len(whole(seed, "").decode()) > 9)  # some texts end at once
    written = whole(seed, "")
    model.decoding = model.decoding._replace(seed=seed)
    assert b"".join(pieces(model)) == written

    stop = written.decode()[2:4]  # half of it may be there before the rest
    model.decoding = model.decoding._replace(stop=stop)
    assert b"".join(pieces(model)) == whole(seed, stop) == written.split(stop.encode())[0]
