"""A text that goes on token by token, each a call of its own, so that a server can send it while it is written.

`stream_start` reads a prompt and gives the first piece of text, `stream_step` the next one from what the call before it
gave, until `finished`. Together the pieces are the text that `serve` gives as a whole. One prompt at a time: B is 1.
"""

import re
from collections.abc import Callable

import tensorflow as tf

from pipelines.decoding import Choice, GenerativeModel, Reader, State, choose, draws
from pipelines.task import Endpoint, Tensors
from pipelines.tasks.language_model.preprocessing import TextPreprocessor
from pipelines.tokenizers import END

Read = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]  # raw prompts (B,) -> tokens (B, P), lengths (B,)
HALF_A_CHARACTER = "\ufffd+$"  # what bytes decode to until the rest of a character is there


def streams(model: GenerativeModel, preprocessor: TextPreprocessor, read: Read) -> dict[str, Endpoint]:
    """Give the two calls of a model, which continues texts as the config says."""
    stream = Stream(model, preprocessor, read)
    prompt = {"prompt": tf.TensorSpec([None], tf.string, name="prompt")}
    return {"stream_start": Endpoint(stream.start, prompt), "stream_step": Endpoint(stream.step, stream.carried)}


class Stream:
    """What the two calls share."""

    def __init__(self, model: GenerativeModel, preprocessor: TextPreprocessor, read: Read):
        self.model, self.decode, self.read = model, preprocessor.tokenizer.decode, read
        wanted = model.decoding
        self.most, self.stop = wanted.max_tokens, wanted.stop
        self.choice = Choice(*([value] for value in wanted[: len(Choice._fields)]))

    @property
    def carried(self) -> dict[str, tf.TensorSpec]:
        """Name what each call gives to the next."""
        state = {name: (tensor.dtype, tensor.shape[1:]) for name, tensor in self._named(self._state()).items()}
        more = {"tokens": (tf.int32, [None]), "draws": (tf.float32, [None]), "length": (tf.int32, [])}
        kinds = {**state, **more, "sent": (tf.int32, [])}
        return {name: tf.TensorSpec([None, *shape], kind, name=name) for name, (kind, shape) in kinds.items()}

    def start(self, raw: Tensors) -> Tensors:
        """Read a prompt and give the first piece."""
        prompts, lengths = self.read(raw["prompt"])
        drawn = draws(tf.constant(self.choice.seed), prompts, lengths[0] + self.most)
        scores, state = Reader(self.model, tf.shape(prompts)[0], lengths[0] + self.most).read(prompts)
        return self._piece(prompts, lengths, drawn, tf.zeros_like(lengths), scores, state)

    def step(self, raw: Tensors) -> Tensors:
        """Read the last token and give the next piece."""
        tokens = raw["tokens"]
        names = self._named(self._state())
        state = tf.nest.pack_sequence_as(self._state(), [raw[name] for name in names])
        scores, state = Reader(self.model, tf.shape(tokens)[0], 1).go_on(tokens, tf.shape(tokens)[1] - 1, state)
        return self._piece(tokens, raw["length"], raw["draws"], raw["sent"], scores, state)

    def _state(self) -> State:
        return self.model.start(1, self.model.context or 1)

    def _named(self, state: State) -> dict[str, tf.Tensor]:
        return {f"state_{number}": tensor for number, tensor in enumerate(tf.nest.flatten(state))}

    def _piece(self, tokens, length, drawn, sent, scores, state) -> Tensors:
        place = tf.shape(tokens)[1] - length[0]
        chosen = choose(scores, Choice(*map(tf.constant, self.choice)), drawn[:, place])
        tokens = tf.concat([tokens, chosen[:, None]], axis=1)
        text = self.decode(tokens[:, length[0] :])
        finished = (chosen == END) | (place + 1 >= self.most)
        whole, held = text, 0
        if self.stop:  # what may be the beginning of it is held back
            whole, held = (
                tf.strings.regex_replace(text, f"(?s){re.escape(self.stop)}.*", ""),
                len(self.stop.encode()) - 1,
            )
            finished |= whole != text
        sure = tf.strings.length(tf.strings.regex_replace(whole, HALF_A_CHARACTER, "")) - held
        end = tf.where(finished, tf.strings.length(whole), tf.maximum(sure, sent))
        carried = {"tokens": tokens, "draws": drawn, "length": length, "sent": end, **self._named(state)}
        return {"text": tf.strings.substr(whole, sent, end - sent), "finished": finished, **carried}
