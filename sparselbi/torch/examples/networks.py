"""The networks of the examples: LeNets, VGG-16, ResNets and a small GPT.

They are written for reading and for cutting: every layer has a name, no channels are
permuted on the way, and heads are blocks of rows and columns of separate matrices.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "GPT",
    "Attention",
    "BasicBlock",
    "BottleneckBlock",
    "ResNet",
    "lenet_5",
    "lenet_300_100",
    "resnet",
    "resnet_50",
    "vgg_16",
]


def lenet_300_100(n_inputs: int = 784, n_classes: int = 10) -> nn.Sequential:
    """Two hidden layers of 300 and 100 neurons; 266,200 weights for MNIST [1]_.

    Takes images of any shape with `n_inputs` numbers.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied
       to document recognition. Proceedings of the IEEE 86 (1998) 2278-2324.
    """
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            dense1=nn.Linear(n_inputs, 300),
            relu1=nn.ReLU(),
            dense2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            dense3=nn.Linear(100, n_classes),
        )
    )


def lenet_5(in_channels: int = 1, n_classes: int = 10, size: int = 28) -> nn.Sequential:
    """The version of LeNet-5 of the pruning papers; 430,500 weights for MNIST.

    Two convolutions with 20 and 50 filters of 5 x 5, each with max pooling, and 500
    hidden neurons. `size` is the height and width of the images, at least 16.
    """
    if size < 16:
        raise ValueError(f"size={size!r}: LeNet-5 needs images of at least 16 x 16.")
    left = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 20, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            dense1=nn.Linear(50 * left**2, 500),
            relu3=nn.ReLU(),
            dense2=nn.Linear(500, n_classes),
        )
    )


def vgg_16(
    in_channels: int = 3,
    n_classes: int = 10,
    width: int = 64,
    batch_norm: bool = True,
) -> nn.Sequential:
    """VGG-16 for images of 16 x 16 to 32 x 32 pixels [1]_.

    Thirteen convolutions of 3 x 3 in five stages and three dense layers. Differs from
    the version for ImageNet in that the last stage ends with the mean over the pixels,
    the dense layers are as wide as that stage (8 times `width`), and there is no
    dropout.

    References
    ----------
    .. [1] K. Simonyan, A. Zisserman. Very deep convolutional networks for large-scale
       image recognition. ICLR 2015.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for stage, (factor, depth) in enumerate(
        [(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)], start=1
    ):
        for k in range(1, depth + 1):
            name = f"{stage}_{k}"
            layers[f"conv{name}"] = nn.Conv2d(
                channels, factor * width, 3, padding=1, bias=not batch_norm
            )
            channels = factor * width
            if batch_norm:
                layers[f"norm{name}"] = nn.BatchNorm2d(channels)
            layers[f"relu{name}"] = nn.ReLU()
        layers[f"pool{stage}"] = (
            nn.MaxPool2d(2) if stage < 5 else nn.AdaptiveAvgPool2d(1)
        )
    layers["flatten"] = nn.Flatten()
    for k in (1, 2):
        layers[f"dense{k}"] = nn.Linear(channels, channels)
        layers[f"relu_dense{k}"] = nn.ReLU()
    layers["dense3"] = nn.Linear(channels, n_classes)
    model = nn.Sequential(layers)
    _initialize(model)
    return model


def _initialize(model: nn.Module) -> None:
    """Normal weights whose variance keeps that of the gradients under ReLU."""
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


# ---------------------------------------------------------------------------- residual


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, which is a projection if needed.

    The filters of ``conv1`` are its own; those of ``conv2`` write to the residual
    stream.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 (with the stride) and 1 x 1 beside a shortcut.

    The filters of ``conv1`` and ``conv2`` are its own; those of ``conv3`` write to the
    residual stream.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1, self.norm1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.norm3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return F.relu(y + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        OrderedDict(
            conv=_conv(inputs, outputs, 1, stride), norm=nn.BatchNorm2d(outputs)
        )
    )


class ResNet(nn.Module):
    """A residual network [1]_: stem, stages of blocks, mean over pixels, classes.

    Parameters
    ----------
    block : type
        `BasicBlock` or `BottleneckBlock`.
    depths : sequence of int
        Blocks per stage. From the second stage on the first block halves the image and
        the width doubles.
    width : int
        That of the blocks of the first stage.
    in_channels, n_classes : int
    large_stem : bool, default=False
        For large images: convolution of 7 x 7 with stride 2, then pooling, instead of
        one convolution of 3 x 3.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image
       recognition. CVPR 2016.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[BottleneckBlock],
        depths: Sequence[int],
        width: int,
        in_channels: int = 3,
        n_classes: int = 10,
        *,
        large_stem: bool = False,
    ) -> None:
        super().__init__()
        self.conv = (
            _conv(in_channels, width, 7, 2)
            if large_stem
            else _conv(in_channels, width, 3)
        )
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if large_stem else nn.Identity()
        stages, channels = [], width
        for s, depth in enumerate(depths):
            blocks = []
            for k in range(depth):
                stride = 2 if s and k == 0 else 1
                blocks.append(block(channels, width * 2**s, stride))
                channels = block.expansion * width * 2**s
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(channels, n_classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.conv(x))))
        return self.dense(self.stages(x).mean((2, 3)))

    def groups(self) -> dict[str | tuple[str, ...], str | None]:
        """Inner channels of the blocks, for ``groups_for(model, choose=...)``.

        A channel is the filter that writes it and the input channel of the last
        convolution of the block, which reads it. The first convolution of a bottleneck
        has filters of its own. What writes to the residual stream otherwise (stem,
        projections) is left dense.
        """
        found: dict[str | tuple[str, ...], str | None] = {
            "conv.weight": None,
            "*.shortcut.conv.weight": None,
        }
        for name, part in self.named_modules():
            last = {BasicBlock: 2, BottleneckBlock: 3}.get(type(part))
            if last is not None:
                pair = f"{name}.conv{last - 1}.weight", f"{name}.conv{last}.weight"
                found[pair] = "filter,channel"
        return found


def resnet(
    depth: int = 20, width: int = 16, in_channels: int = 3, n_classes: int = 10
) -> ResNet:
    """The ResNet for small images: three stages of basic blocks, ``6 n + 2`` layers."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth={depth!r} must be 6 n + 2: 8, 14, 20, 32, 44, 56, ...")
    return ResNet(BasicBlock, [(depth - 2) // 6] * 3, width, in_channels, n_classes)


def resnet_50(n_classes: int = 1000, in_channels: int = 3, width: int = 64) -> ResNet:
    """The ResNet-50 for ImageNet, with the stride in the convolutions of 3 x 3."""
    return ResNet(
        BottleneckBlock,
        [3, 4, 6, 3],
        width,
        in_channels,
        n_classes,
        large_stem=True,
    )


# ------------------------------------------------------------------------- transformer


class Attention(nn.Module):
    """Causal attention with a matrix each for queries, keys, values and output.

    Head k is block k of the rows of ``query``, ``key`` and ``value`` and of the columns
    of ``out``. The size of a head is read from the weights, so that heads can be
    removed: only `n_heads` has to be lowered with them.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(f"n_heads={n_heads!r} must divide the width {width}.")
        self.n_heads = n_heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two dense layers, each behind a layer norm, beside a shortcut."""

    def __init__(self, width: int, n_heads: int, n_neurons: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, n_neurons), nn.Linear(n_neurons, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """A small language model: embeddings, blocks of attention and dense layers.

    Parameters
    ----------
    vocabulary : int
        Number of different tokens.
    context : int, default=128
        Longest sequence.
    width : int, default=128
        Of the residual stream.
    n_blocks, n_heads : int, default=4
    n_neurons : int or None, default=None
        Hidden neurons of the dense layers of a block; None for four times `width`.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int = 128,
        width: int = 128,
        n_blocks: int = 4,
        n_heads: int = 4,
        n_neurons: int | None = None,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            Block(width, n_heads, n_neurons or 4 * width) for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, vocabulary)
        # Small embeddings, and a sum over 2 n_blocks branches that starts at size one.
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        block: Any
        for block in self.blocks:
            for layer in (block.attention.out, block.down):
                with torch.no_grad():
                    layer.weight.mul_((2 * n_blocks) ** -0.5)

    def forward(self, index: Tensor) -> Tensor:
        """Logits of the next token, shape (batch, length, vocabulary)."""
        length, context = index.shape[1], self.positions.num_embeddings
        if length > context:
            raise ValueError(
                f"The sequence has {length} tokens, and the context is {context}."
            )
        place = torch.arange(length, device=index.device)
        x = self.tokens(index) + self.positions(place)
        for block in self.blocks:
            x = block(x)
        return self.logits(self.norm(x))

    def groups(self) -> dict[tuple[str, ...], str]:
        """Heads and hidden neurons, for ``groups_for(model, choose=...)``.

        A head is its rows of query, key and value and its columns of the output matrix;
        a neuron its row of ``up`` and its column of ``down``.
        """
        found: dict[tuple[str, ...], str] = {}
        block: Any
        for k, block in enumerate(self.blocks):
            path, n = f"blocks.{k}", block.attention.n_heads
            heads = ("query", "key", "value", "out")
            found[tuple(f"{path}.attention.{name}.weight" for name in heads)] = (
                f"dim0/{n},dim0/{n},dim0/{n},dim1/{n}"
            )
            found[f"{path}.up.weight", f"{path}.down.weight"] = "neuron,channel"
        return found

    def heads(self) -> dict[str, str]:
        """Where the numbers of heads are, for ``prune(..., heads=...)``."""
        return {f"blocks.{k}.attention": "n_heads" for k in range(len(self.blocks))}
