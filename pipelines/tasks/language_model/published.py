"""Published causal language models as a `GenerativeModel`, through KerasHub's key and value caches.

Shapes: B texts, T tokens, n next tokens, V token ids.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.errors import UserError
from pipelines.presets import Preset
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.text.published import PublishedTokenizer
from pipelines.text.sampling import NEVER, GenerativeModel, State, traced_once
from pipelines.training.pretrained import FineTuning, Pretrained

WHERE = "models.pretrained"
HEADS = ("num_query_heads", "num_attention_heads", "num_heads")  # KerasHub's names for the number of heads


class PublishedModel(GenerativeModel):
    """A causal language model of KerasHub whose token ids are those of a `PublishedTokenizer`.

    Each text begins with the token with which the published model's texts began, which is not among the inputs.
    """

    one_shape = True

    def __init__(self, network: Any, tokenizer: PublishedTokenizer, context: int, pretrained: Pretrained):
        before = tokenizer.before
        skipped = int(before is not None)  # number of tokens before a text
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        whole = ops.pad(tokens, ((0, 0), (1, 0)), constant_values=before) if skipped else tokens
        scores = network({"token_ids": whole, "padding_mask": ops.ones_like(whole)})
        never = np.where(tokenizer.absent, NEVER, 0.0).astype("float32")
        super().__init__({"tokens": tokens}, scores[:, skipped:] + never, name="pretrained")
        self.network, self.family, self.never = network, tokenizer.preset.family, never
        self.before, self.skipped, self.context, self.pretrained = before, skipped, context, pretrained
        if pretrained.frozen:  # now, so that the optimizer keeps no state for the layers
            pretrained.freeze(0)
        self.traced = traced_once(network.call_with_cache)  # tracing a deep network takes minutes

    def load(self) -> None:
        """Load the published weights."""
        self.pretrained.load()

    def start(self, batch: int, length: int) -> State:
        """Return the state before the first token of `batch` texts, with room for `length` tokens."""
        cache = _empty_cache(self.family, self.network, batch, length + self.skipped)
        if self.before is not None:
            _, _, cache = self.traced(ops.full((batch, 1), self.before, "int32"), cache, ops.zeros((), "int32"))
        return {"position": ops.zeros((batch,), "int32"), "cache": cache}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B, n), and the new state."""
        at = state["position"][0] + self.skipped
        scores, _, cache = self.traced(tokens, state["cache"], at)
        return scores + self.never, {"position": state["position"] + ops.shape(tokens)[1], "cache": cache}


def published_model(features: Features, settings: FineTuning) -> PublishedModel:
    """Return the causal language model of a preset."""
    tokenizer = features.tokenizer
    assert isinstance(tokenizer, PublishedTokenizer)  # a model with a setting `preset` is given one
    preset = tokenizer.preset
    _check(preset, tokenizer, features, settings)
    network = preset.with_config({"vocabulary_size": tokenizer.size}).make_causal_lm()
    load = partial(preset.load_weights, network.backbone, f"{WHERE}.preset", settings["lora_rank"], tokenizer.published)
    pretrained = Pretrained.fine_tuned(_groups(network.backbone), load, settings)
    return PublishedModel(network, tokenizer, features.context, pretrained)


def _check(preset: Preset, tokenizer: PublishedTokenizer, features: Features, settings: FineTuning) -> None:
    if settings["unfreeze_after_epochs"]:
        problem = "must be 0 for a language model: all its layers are pretrained, none can be trained first"
        raise UserError(f"{WHERE}.unfreeze_after_epochs", problem)
    if preset.config.get("vision_encoder") is not None:
        raise UserError(f"{WHERE}.preset", f"'{preset.name}' also reads images; choose a preset for text only")
    most = preset.config.get("max_sequence_length")
    if most is not None and features.context + 1 > most:
        problem = f"must be at most {most - 1} for this preset, which has {most} positions"
        raise UserError("preprocessing.context", problem)


def _groups(backbone: Any) -> list[list[keras.Layer]]:
    """Return the embeddings, each block, and the last normalization."""
    blocks = backbone.transformer_layers
    first, last = backbone.layers.index(blocks[0]), backbone.layers.index(blocks[-1])
    return [backbone.layers[:first], *([block] for block in blocks), backbone.layers[last + 1 :]]


def _empty_cache(family: str, network: Any, batch: int, length: int) -> Any:
    """Return a cache without content, in the form that `call_with_cache` of a family takes."""
    of = network.backbone
    heads = next(getattr(of, name) for name in HEADS if hasattr(of, name))
    width = getattr(of, "head_dim", None) or of.hidden_dim // heads
    stored = getattr(of, "num_key_value_heads", heads)
    if family == "Gemma3":  # a pair per layer
        one = ops.zeros((batch, length, stored, width), network.compute_dtype)
        return tuple((one, one) for _ in range(of.num_layers))
    return ops.zeros((batch, of.num_layers, 2, length, stored, width), network.compute_dtype)
