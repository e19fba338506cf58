"""Published backbones that translate: encoder-decoders as they are, and text encoders with a new decoder.

Shapes: B sentences, S source tokens, T target tokens, n next target tokens, K beams, V target token ids, D features,
H heads.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.errors import UserError
from pipelines.layers.basic import IsToken
from pipelines.layers.transformer import SinusoidalPositions
from pipelines.presets import Preset, sequence_model
from pipelines.tasks.translator.preprocessing import Features
from pipelines.tasks.translator.transformers import TransformerTranslator, check_heads
from pipelines.tasks.translator.translation import Translator, make_embedding
from pipelines.text.published import EncoderTokenizer, PublishedTokenizer
from pipelines.text.sampling import NEVER, State, traced_once
from pipelines.text.tokenizers import END, START
from pipelines.training.pretrained import FineTuning, Pretrained, layer_groups

WHERE = "models.pretrained"


class FineTuned(Translator):
    """A translator with pretrained layers."""

    pretrained: Pretrained

    def load(self) -> None:
        """Load the published weights."""
        self.pretrained.load()

    def _take(self, pretrained: Pretrained) -> None:
        self.pretrained = pretrained
        if pretrained.frozen:  # now, so that the optimizer keeps no state for the layers
            pretrained.freeze(0)


class EncoderDecoder(FineTuned):
    """An encoder-decoder of KerasHub whose token ids are those of a `PublishedTokenizer`.

    BART's decoder reads `END` before `START`, which is not among the inputs. T5's begins with padding, whose embedding
    `START` has here.
    """

    def __init__(self, network: Any, tokenizer: PublishedTokenizer, pretrained: Pretrained):
        backbone, family = network.backbone, tokenizer.preset.family
        before = tokens_before(family)
        source, target = (keras.Input((None,), dtype="int32", name=side) for side in ("source", "target"))
        whole = ops.pad(target, ((0, 0), (before, 0)), constant_values=END)
        read = {"encoder_token_ids": source, "encoder_padding_mask": _mask(source)}
        read |= {"decoder_token_ids": whole, "decoder_padding_mask": ops.ones_like(whole)}
        hidden = backbone(read)["decoder_sequence_output"][:, before:]
        scaled = family == "T5" and backbone.tie_embedding_weights
        hidden = hidden * backbone.hidden_dim**-0.5 if scaled else hidden
        super().__init__({"source": source, "target": target}, hidden, name="pretrained")
        self.backbone, self.family, self.embedding, self.before = backbone, family, backbone.token_embedding, before
        self.never = np.where(tokenizer.absent, NEVER, 0.0).astype("float32")
        self.shares = (~tokenizer.absent / np.sum(~tokenizer.absent)).astype("float32")  # of the smoothed labels
        self._take(pretrained)
        self.encode, self.decode = network.call_encoder, traced_once(network.call_decoder_with_cache)

    def scores(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        """Return the scores (logits) of every token: (..., D) -> (..., V)."""
        return super().scores(hidden) + self.never

    def mean_embedding(self, rows: keras.KerasTensor) -> keras.KerasTensor:
        """Return the mean (D,) of the embeddings (V, D) of the tokens that can occur."""
        return ops.matmul(self.shares, rows)

    def start(self, given: dict, length: int) -> State:
        """Encode the source once, and cache its keys and values for each block."""
        mask = _mask(given["source"])
        encoded, batch = self.encode(given["source"], mask), ops.shape(mask)[0]
        # A first token is needed to fill the caches. If it is `START`, it will be read again, at the same place. There
        # are two places because Keras warns of a softmax over one.
        first = ops.full((batch, 1), END if self.before else START, "int32")
        empty = [self._empty_cache(batch, steps) for steps in (2, ops.shape(mask)[1])]
        *_, own, cross = self.decode(encoded, mask, first, empty[0], 0, empty[1], 0)
        source = {"mask": mask, "cache": cross}
        return {"source": source, "position": ops.zeros((batch,), "int32"), "cache": own}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B K, n), and the new state.

        The cache grows by each step, so that a step does not have to read and copy places for the longest text.
        """
        source, (rows, steps) = state["source"], ops.shape(tokens)
        beams = rows // ops.shape(source["mask"])[0]
        mask, cross = (ops.repeat(source[name], beams, axis=0) for name in ("mask", "cache"))
        unread = ops.zeros((1, 1, self.embedding.output_dim))  # in place of the encoded source, which is cached
        cache = ops.concatenate([state["cache"], self._empty_cache(rows, steps)], axis=3)
        at = state["position"][0] + self.before
        scores, _, cache, _ = self.decode(unread, mask, tokens, cache, at, cross, None)
        return scores + self.never, {"source": source, "position": state["position"] + steps, "cache": cache}

    def attention(self, source: keras.KerasTensor, target: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the attention weights from target to source tokens (B, H, T, S), for each block."""
        mask, of = _mask(source), self.backbone
        whole = ops.pad(target, ((0, 0), (self.before, 0)), constant_values=END)
        weigh = _bart_weights if self.family == "Bart" else _t5_weights
        found = weigh(of, of.token_embedding(whole), self.encode(source, mask), mask)
        return [weights[:, :, self.before :] for weights in found]

    def _empty_cache(self, batch: int, steps: int) -> keras.KerasTensor:
        of = self.backbone
        width = getattr(of, "key_value_dim", None) or of.hidden_dim // of.num_heads
        return ops.zeros((batch, of.num_layers, 2, steps, of.num_heads, width), self.compute_dtype)


class EncoderTranslator(FineTuned, TransformerTranslator):
    """A published text encoder with a new Transformer decoder (Rothe et al. 2020; Zhu et al. 2020)."""

    def __init__(self, encoder: keras.Model, embedding: keras.Layer, pretrained: Pretrained, **decoder: Any):
        super().__init__(encoder, embedding, SinusoidalPositions(), norm="pre", name="pretrained", **decoder)
        self._take(pretrained)


def encoder_decoder(features: Features, settings: FineTuning) -> EncoderDecoder:
    """Return the encoder-decoder of a preset."""
    tokenizer = features.source
    assert isinstance(tokenizer, PublishedTokenizer)
    preset = tokenizer.preset
    if settings["unfreeze_after_epochs"]:
        problem = f"must be 0 for {preset.family}, whose layers are all pretrained: none can be trained first"
        raise UserError(f"{WHERE}.unfreeze_after_epochs", problem)
    _check_longest(preset, features.longest, tokens_before(preset.family))
    network = preset.with_config({"vocabulary_size": tokenizer.size}).make_seq_2_seq_lm()
    load = partial(preset.load_weights, network.backbone, f"{WHERE}.preset", settings["lora_rank"], tokenizer.published)
    return EncoderDecoder(network, tokenizer, Pretrained.fine_tuned(_groups(network.backbone), load, settings))


def encoder_translator(features: Features, settings: FineTuning, **decoder: Any) -> EncoderTranslator:
    """Return the text encoder of a preset with a new decoder."""
    tokenizer = features.source
    assert isinstance(tokenizer, EncoderTokenizer)
    check_heads(WHERE, decoder["width"], decoder["heads"])
    preset = tokenizer.preset
    _check_longest(preset, features.longest, 0)
    source, backbone = keras.Input((None,), dtype="int32", name="source"), preset.make_backbone()
    mask, network = IsToken()(source), sequence_model(backbone)
    ids = ops.where(mask, source - 1, preset.tokenizer.pad_token_id)
    read = {"token_ids": ids, "padding_mask": ops.cast(mask, "int32"), "segment_ids": ops.zeros_like(ids)}
    encoded = keras.layers.Dense(decoder["width"])(network({name: read[name] for name in backbone.input}))
    encoder = keras.Model(source, [keras.layers.Dropout(decoder["dropout"])(encoded), mask], name="encoder")
    load = partial(preset.load_weights, backbone, f"{WHERE}.preset", settings["lora_rank"])
    pretrained = Pretrained.fine_tuned(layer_groups(network), load, settings)
    embedding = make_embedding(features.target_tokens, decoder["width"], tie_weights=True)
    return EncoderTranslator(encoder, embedding, pretrained, **decoder)


def tokens_before(family: str) -> int:
    """Return how many tokens a published decoder reads before `START`."""
    return int(family == "Bart")


def _check_longest(preset: Preset, longest: int, before: int) -> None:
    most = preset.config.get("max_sequence_length")
    if most is not None and longest + before > most:
        problem = f"must be at most {most - before} for this preset, which has {most} positions"
        raise UserError("preprocessing.longest", problem)


def _bart_weights(
    of: Any, x: keras.KerasTensor, encoded: keras.KerasTensor, mask: keras.KerasTensor
) -> list[keras.KerasTensor]:
    """Return the attention weights of each block of a BART decoder, from its embedded tokens (B, T, D)."""
    x, found = of.decoder_embeddings_layer_norm(x + of.decoder_position_embedding(x)), []
    for block in of.decoder_transformer_layers:
        attended = block._self_attention_layer(x, x, attention_mask=_causal(x))
        query = block._self_attention_layer_norm(x + attended)
        cross = {"attention_mask": mask[:, None, :], "return_attention_scores": True}
        found.append(block._cross_attention_layer(query, encoded, **cross)[1])
        x = block(x, encoded, encoder_padding_mask=mask)
    return found


def _t5_weights(
    of: Any, x: keras.KerasTensor, encoded: keras.KerasTensor, mask: keras.KerasTensor
) -> list[keras.KerasTensor]:
    """Return the attention weights of each block of a T5 decoder, from its embedded tokens (B, T, D)."""
    bias, found = None, []
    for block in of.decoder_transformer_layers:
        normed, cross = block.self_attention_layer_norm(x), block.cross_attention
        attended, bias, _ = block.self_attention(normed, mask=_causal(x), position_bias=bias)
        queries, keys = (
            ops.reshape(project(given), (ops.shape(x)[0], -1, cross.num_heads, cross.key_value_dim))
            for project, given in (
                (cross.query_projector, block.cross_attention_layer_norm(x + attended)),
                (cross.key_projector, encoded),
            )
        )
        fit = ops.einsum("bqnd,bknd->bnqk", queries, keys)  # T5 does not divide by the root of the width
        found.append(ops.softmax(ops.where(mask[:, None, None, :] > 0, fit, NEVER)))
        seen = {"encoder_hidden_states": encoded, "encoder_attention_mask": mask[:, None, :]}
        x, _ = block(x, position_bias=bias, **seen)
    return found


def _causal(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return which steps each step of (B, T, D) may see: (1, T, T)."""
    steps = ops.arange(ops.shape(x)[1])
    return (steps[:, None] >= steps)[None]


def _mask(ids: keras.KerasTensor) -> keras.KerasTensor:
    return ops.cast(ops.not_equal(ids, 0), "int32")


def _groups(backbone: Any) -> list[list[keras.Layer]]:
    """Return the embeddings and all layers that are not part of a block, then each block."""
    blocks = [*backbone.encoder_transformer_layers, *backbone.decoder_transformer_layers]
    return [[layer for layer in backbone.layers if layer not in blocks], *([block] for block in blocks)]
