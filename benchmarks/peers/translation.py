"""The Transformer of Multi30k by PyTorch's own layers, its plain beam search, and its weights for CTranslate2."""

from pathlib import Path

import numpy as np
import torch
from ctranslate2.specs import TransformerSpec
from torch import nn

PAD, START, END = 0, 2, 3  # token ids of the project's vocabularies


def make_pytorch(settings: dict, tokens: int) -> nn.Module:
    """Build the network of the config by PyTorch's own layers."""
    width = settings["width"]

    class Network(nn.Module):
        """Embeddings, positions, a Transformer, and scores by the embeddings."""

        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(tokens, width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)
            self.register_buffer("positions", torch.from_numpy(positions(1024, width)))
            self.drop = nn.Dropout(settings["dropout"])
            self.layers = nn.Transformer(
                width,
                settings["heads"],
                settings["encoder_layers"],
                settings["decoder_layers"],
                settings["feed_forward_units"],
                settings["dropout"],
                batch_first=True,
                norm_first=settings["norm"] == "pre",
            )
            for part in self.layers.modules():  # ours drops neither attention weights nor what is between two maps
                if isinstance(part, nn.MultiheadAttention):
                    part.dropout = 0.0
                elif isinstance(part, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                    part.dropout = nn.Identity()

        def embed(self, ids):
            return self.drop(self.embedding(ids) * width**0.5 + self.positions[: ids.shape[1]])

        def encode(self, source):
            return self.layers.encoder(self.embed(source), src_key_padding_mask=source == PAD)

        def decode(self, target, memory, padding):
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            return self.layers.decoder(
                self.embed(target), memory, tgt_mask=mask, memory_key_padding_mask=padding, tgt_is_causal=True
            )

        def forward(self, source, target):
            hidden = self.decode(target, self.encode(source), source == PAD)
            return nn.functional.linear(hidden, self.embedding.weight)

    return Network()


def positions(count: int, width: int) -> np.ndarray:
    """Give the sines and cosines that our layer adds."""
    at = np.arange(width)
    rates = 10000.0 ** (-2 * (at // 2) / width)
    return np.sin(np.arange(count)[:, None] * rates + np.where(at % 2, np.pi / 2, 0)).astype("float32")


def convert(settings: dict, weights: dict[str, np.ndarray], folder: Path) -> None:
    """Write the weights as CTranslate2 reads them; a token is called by its id."""
    layers = (settings["encoder_layers"], settings["decoder_layers"])
    spec = TransformerSpec.from_config(layers, settings["heads"], pre_norm=settings["norm"] == "pre")

    def norm(to, name: str) -> None:
        to.gamma, to.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def linear(to, name: str, rows: slice = slice(None)) -> None:
        to.weight, to.bias = weights[f"{name}weight"][rows], weights[f"{name}bias"][rows]

    width, embedding = settings["width"], weights["embedding"]
    for side, own in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        (own.embeddings[0] if side == "encoder" else own.embeddings).weight = embedding
        own.position_encodings.encodings = positions(1024, width)
        norm(own.layer_norm, f"{side}.norm")
        for at, layer in enumerate(own.layer):
            name = f"{side}.layers.{at}"
            linear(layer.self_attention.linear[0], f"{name}.self_attn.in_proj_")
            linear(layer.self_attention.linear[1], f"{name}.self_attn.out_proj.")
            norm(layer.self_attention.layer_norm, f"{name}.norm1")
            if side == "decoder":
                linear(layer.attention.linear[0], f"{name}.multihead_attn.in_proj_", slice(width))
                linear(layer.attention.linear[1], f"{name}.multihead_attn.in_proj_", slice(width, None))
                linear(layer.attention.linear[2], f"{name}.multihead_attn.out_proj.")
                norm(layer.attention.layer_norm, f"{name}.norm2")
            linear(layer.ffn.linear_0, f"{name}.linear1.")
            linear(layer.ffn.linear_1, f"{name}.linear2.")
            norm(layer.ffn.layer_norm, f"{name}.norm{3 if side == 'decoder' else 2}")
    spec.decoder.projection.weight = embedding
    tokens = [str(token) for token in range(len(embedding))]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = "1", str(START), str(END)
    spec.config.decoder_start_token = str(START)
    spec.validate()
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))


def plain_search(model: nn.Module, sources: list[list[int]], about: dict) -> list[list[int]]:
    """Search one batch with beams of equal number."""
    beams, longest = about["most"]["beams"], max(map(len, sources))
    source = torch.tensor([row + [PAD] * (longest - len(row)) for row in sources])
    memory = model.encode(source).repeat_interleave(beams, 0)
    padding = (source == PAD).repeat_interleave(beams, 0)
    count, most = len(sources), int(about["most"]["length_ratio"] * longest) + about["most"]["extra_tokens"]
    tokens = torch.full((count, beams, 1), START)
    scores = torch.tensor([[0.0] + [-1e9] * (beams - 1)]).repeat(count, 1)
    found: list[list[tuple[float, list[int]]]] = [[] for _ in sources]
    for step in range(1, most + 1):
        hidden = model.decode(tokens.flatten(0, 1), memory, padding)[:, -1]
        logits = torch.nn.functional.linear(hidden, model.embedding.weight).log_softmax(-1)
        logits[:, :END] = -1e9
        vocabulary = logits.shape[-1]
        best, place = (scores[..., None] + logits.view(count, beams, -1)).flatten(1).topk(2 * beams)
        origin, following = place // vocabulary, place % vocabulary
        ends = (following == END) | (step == most)
        for row, rank in (ends[:, :beams]).nonzero().tolist():
            if len(found[row]) < beams:
                ended = [*tokens[row, origin[row, rank], 1:].tolist(), int(following[row, rank])]
                found[row].append((float(best[row, rank]) / ((5 + step) / 6) ** about["most"]["length_penalty"], ended))
        if all(len(each) >= beams for each in found):
            break
        scores, kept = best.masked_fill(following == END, -1e9).topk(beams)
        origin, following = origin.gather(1, kept), following.gather(1, kept)
        tokens = torch.cat([tokens.gather(1, origin[..., None].expand(-1, -1, step)), following[..., None]], -1)
    return [max(each)[1] for each in found]
