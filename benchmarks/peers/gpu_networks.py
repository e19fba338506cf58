"""The networks of `gpu_speed.py` in plain PyTorch, and their losses. The forward pass of each returns the loss."""

import math

import torch
from torch import nn
from torch.nn import functional

PAD = 0


class ResNet(nn.Module):
    """ResNet-20 for images of 32 pixels (He et al. 2016, section 4.2), with projections."""

    def __init__(self, depth: int, filters: int, classes: int):
        super().__init__()

        def convolve(before: int, after: int, size: int, stride: int) -> nn.Module:
            convolution = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(after))

        self.stem, width = convolve(3, filters, 3, 1), filters
        self.blocks = nn.ModuleList()
        for stage in range(3):
            for block in range((depth - 2) // 6):
                after, stride = filters * 2**stage, 2 if stage and not block else 1
                two = nn.Sequential(convolve(width, after, 3, stride), nn.ReLU(), convolve(after, after, 3, 1))
                self.blocks.append(
                    nn.ModuleList([two, convolve(width, after, 1, stride) if stride > 1 else nn.Identity()])
                )
                width = after
        self.head = nn.Linear(width, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images, labels):
        """Take images (B, H, W, C) of bytes and classes (B,)."""
        x = (images.permute(0, 3, 1, 2).float() - 128) / 64  # already in the order of channels_last
        x = functional.relu(self.stem(x))
        for two, shortcut in self.blocks:
            x = functional.relu(two(x) + shortcut(x))
        return functional.cross_entropy(self.head(x.mean((2, 3))).float(), labels)


class LanguageModel(nn.Module):
    """NanoGPT's Transformer, without biases, by PyTorch's fused attention."""

    def __init__(self, tokens: int, context: int, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weights in self.named_parameters():
            if weights.dim() > 1:
                into_stream = name.endswith(("project_out.weight", "down.weight"))
                nn.init.normal_(weights, std=0.02 / math.sqrt(2 * layers if into_stream else 1))

    def forward(self, tokens, labels):
        """Take token ids (B, T) and the next ones (B, T)."""
        x = self.drop(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        scores = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(scores.float().flatten(0, 1), labels.flatten())


class Block(nn.Module):
    """Causal attention and two dense layers, normalized before each."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project_in, self.project_out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        batch, steps, width = x.shape
        parts = self.project_in(self.norms[0](x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*parts, is_causal=True, dropout_p=self.dropout)
        x = x + self.drop(self.project_out(y.transpose(1, 2).reshape(batch, steps, width)))
        return x + self.drop(self.down(functional.gelu(self.up(self.norms[1](x)))))


class Translator(nn.Module):
    """PyTorch's own `nn.Transformer` with shared embeddings, sinusoidal positions and scores by the embeddings."""

    def __init__(self, tokens: int, longest: int, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        at = torch.arange(width)
        phases = torch.arange(longest)[:, None] * 10000.0 ** (-2 * (at // 2) / width)
        self.register_buffer("positions", torch.sin(phases + (at % 2) * math.pi / 2))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(longest))
        self.drop, self.scale = nn.Dropout(dropout), width**0.5
        sizes = (width, heads, layers, layers, 4 * width, dropout)
        self.layers = nn.Transformer(*sizes, batch_first=True, norm_first=True)
        for part in self.layers.modules():  # ours drops neither attention weights nor what is between two maps
            if isinstance(part, nn.MultiheadAttention):
                part.dropout = 0.0
            elif isinstance(part, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                part.dropout = nn.Identity()

    def embed(self, ids):
        """Return the embeddings (B, T, D) of token ids (B, T)."""
        return self.drop(self.embedding(ids) * self.scale + self.positions[: ids.shape[1]])

    def forward(self, source, target, labels):
        """Take the token ids of both sides and the next ones of the target."""
        padding, steps = source == PAD, target.shape[1]
        memory = self.layers.encoder(self.embed(source), src_key_padding_mask=padding)
        mask = self.mask[:steps, :steps]
        causal = {"tgt_mask": mask, "tgt_is_causal": True, "memory_key_padding_mask": padding}
        hidden = self.layers.decoder(self.embed(target), memory, **causal)
        scores = functional.linear(hidden, self.embedding.weight).float().flatten(0, 1)
        return functional.cross_entropy(scores, labels.flatten(), ignore_index=PAD, label_smoothing=0.1)
