"""Convolutions of rounds that are played as they stand on a CPU, where oneDNN's own kernels are slow.

An image of few channels is made by sub-pixel convolution. Layers of many channels and 4 x 4 weights, in bfloat16 on a
CPU without AMX, go by `winograd`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from gantool.engine.precision import multiplies_vectors_only
from gantool.engine.sub_pixel import ATEN, IMAGE, MAP, Sizes, is_plain, sizes_of, sub_pixel
from gantool.engine.winograd import Winograd

NARROW = 8  # channels of an image; oneDNN computes 16 at once
SHORT = torch.bfloat16  # in longer numbers, sums take as long as the products that they save


class Way(Protocol):
    """Of a layer's image, weight and map, makes any one out of the two others."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that the layer computes in."""
        ...

    def prepared(self, kind: int, operand: Tensor) -> Tensor:
        """What of an operand is used, often more than once."""
        ...

    def made(self, kind: int, one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
        """What is of this kind, out of the two of the kinds after it, in turn, that are prepared."""
        ...


class SubPixel(NamedTuple):
    """A layer between images of few channels, so high and wide, and maps."""

    dtype: torch.dtype
    sizes: Sizes
    image: tuple[int, ...]
    weight: torch.Size

    def prepared(self, kind: int, operand: Tensor) -> Tensor:
        return operand.to(self.dtype, memory_format=torch.channels_last)

    def made(self, kind: int, one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
        _, stride, padding = self.sizes
        if kind == MAP:
            return conv2d(one, other, bias, stride, padding)
        if kind == IMAGE:
            made = sub_pixel(other, one, self.sizes, self.image, bias)
            return made.contiguous(memory_format=torch.channels_last)
        shape = other.new_empty(self.weight)
        how = (stride, padding, [1, 1], False, [0, 0], 1, [False, True, False])
        return ATEN.convolution_backward(one, other, shape, None, *how)[1]


class _Third(Function):
    """A layer, and both of its gradients: each is made of two of an image, a weight and a map.

    Autograd casts gradients to what they are of.
    """

    @staticmethod
    def forward(
        ctx: Any, way: Way, kind: int, one: Tensor, other: Tensor, bias: Tensor | None,
        prepared: Tensor, other_prepared: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.way, ctx.kind = way, kind
        ctx.save_for_backward(one, other, prepared, other_prepared)
        return way.made(kind, prepared, other_prepared, None if bias is None else bias.to(way.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        way, kind, (one, other, prepared, other_prepared) = ctx.way, ctx.kind, ctx.saved_tensors
        _, _, *could, _, _ = ctx.needs_input_grad
        nodes = [node for node, _ in ctx.next_functions]  # of one, other, and bias if there is one
        for_one, for_other, for_bias = (each and _is_wanted(node) for each, node in zip(could, nodes, strict=False))
        with torch.no_grad():
            now = way.prepared(kind, grad)
        ones = _Third.apply(way, (kind + 1) % 3, other, grad, None, other_prepared, now) if for_one else None
        others = _Third.apply(way, (kind + 2) % 3, grad, one, None, now, prepared) if for_other else None
        return None, None, ones, others, grad.sum((0, 2, 3)) if for_bias else None, None, None


def _is_wanted(node: Any) -> bool:
    """Will what is handed on to this node be used? `needs_input_grad` says only if it could be."""
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # of a leaf whose gradient is asked for
        return True


class Written(TorchFunctionMode):
    """While it is on, convolutions are computed in the fastest way, and maps stay channels last on the way back too.

    Not within torch.func; a gradient through them cannot be batched, nor taken forward, and a layer that is computed
    anew on the way back (torch.utils.checkpoint) is torch's own.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, result = kwargs or {}, None
        if func in INSTEAD and not torch._C._are_functorch_transforms_active():
            result = INSTEAD[func](*args, **kwargs)
        return func(*args, **kwargs) if result is None else result


def faster_layers(nets: nn.Module, device: torch.device, compiled: bool) -> Callable[[], AbstractContextManager]:
    """What rounds of these networks are to be played under. Rounds that are to be compiled stay as they are."""
    there = device.type == "cpu" and not compiled and any(isinstance(layer, _ConvNd) for layer in nets.modules())
    return Written if there else nullcontext


def _down(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    """In the place of conv2d; None where torch is to compute it."""
    return _layer(MAP, input, weight, bias, stride, padding, dilation, 0, groups)


def _up(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor | None:  # fmt: skip
    """In the place of conv_transpose2d."""
    return _layer(IMAGE, input, weight, bias, stride, padding, dilation, output_padding, groups)


def _layer(
    kind: int, given: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    output_padding: Any, groups: int,
) -> Tensor | None:  # fmt: skip
    both = [_both(each) for each in (stride, padding, dilation, output_padding)]
    dtype = _dtype(given, weight, bias)
    if dtype is None or not all(both):
        return None
    stride, padding, dilation, output_padding = both
    sizes, image = sizes_of(weight, stride, padding), tuple(given.shape[2:])
    if not is_plain(given, weight, sizes, dilation, output_padding, groups):
        return None
    seen, made = (1, 0) if kind == MAP else (0, 1)  # channels of a weight
    if given.shape[1] != weight.shape[seen] or bias is not None and bias.shape != weight.shape[made : made + 1]:
        return None
    if kind == IMAGE:
        image = tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(image, *sizes, strict=True))
    way = _way(dtype, sizes, (len(given), *image), weight.shape, kind == IMAGE or given.requires_grad)
    if way is None:
        return None
    operands = {MAP: (given, weight), IMAGE: (weight, given)}[kind]
    with torch.no_grad():
        prepared = [way.prepared((kind + i) % 3, each) for i, each in enumerate(operands, start=1)]
    return _Third.apply(way, kind, *operands, bias, *prepared)


def _both(directions: Any) -> tuple[int, ...]:
    """One number, a sequence of one, or of two: of both directions. Empty: something else."""
    numbers = tuple(directions) if isinstance(directions, (tuple, list)) else (directions, directions)
    if len(numbers) not in (1, 2) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        return ()
    return numbers * (2 // len(numbers))


def _dtype(*tensors: Tensor | None) -> torch.dtype | None:
    """In which a layer of them computes; None if torch is to say so, or why it does not."""
    found = {tensor.dtype for tensor in tensors if tensor is not None}
    if torch.is_autocast_enabled("cpu") and found <= {torch.float32, torch.bfloat16}:
        return torch.get_autocast_dtype("cpu")
    return found.pop() if len(found) == 1 and found <= {torch.float64, torch.float32, torch.bfloat16} else None


def _way(
    dtype: torch.dtype, sizes: Sizes, images: tuple[int, ...], weight: torch.Size, makes_images: bool
) -> Way | None:
    """The faster one for a batch (N, height, width), if there is one. An image may be made on the way back."""
    if min(images) < 1:
        return None
    if weight[1] <= NARROW and makes_images:
        return SubPixel(dtype, sizes, images[1:], weight)
    # with AMX products take no time beside sums
    if dtype == SHORT and multiplies_vectors_only() and Winograd.suits(sizes, images, weight):
        return Winograd(dtype, *images)
    return None


def _flatten(given: Tensor, *_: Any, **__: Any) -> None:
    """A gradient of a map is to lie in memory as the map does: layers of mixed order are slow."""
    if given.grad_fn and given.dim() == 4 and given.is_contiguous(memory_format=torch.channels_last):
        given.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))


def _unflatten(given: Tensor, dim: int, sizes: Sequence[int]) -> Tensor | None:
    """What a linear layer makes is to lie in memory as what convolutions make."""
    if given.dim() != 2 or len(sizes) != 3:
        return None
    return given.unflatten(dim, sizes).contiguous(memory_format=torch.channels_last)


INSTEAD: dict[Any, Callable[..., Tensor | None]] = {
    conv2d: _down, conv_transpose2d: _up, Tensor.flatten: _flatten, Tensor.unflatten: _unflatten,
}  # fmt: skip
