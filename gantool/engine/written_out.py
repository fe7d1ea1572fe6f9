"""Operations in simpler ones, which the compiler fuses with what is around them: of optimisers, norms and products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gantool.engine.products import linear, product

KEPT = 8  # elements; smaller reductions are written out


def _adam(
    params: list[Tensor], grads: list[Tensor], means: list[Tensor], squares: list[Tensor], largest: list[Tensor],
    steps: list[Tensor], *, lr: float, beta1: float, beta2: float, weight_decay: float, eps: float, amsgrad: bool,
    maximize: bool, decoupled: bool = False, **_: Any,
) -> None:  # fmt: skip
    """torch's fused kernel written out, whose bias corrections are in float64 (Kingma and Ba 2014, algorithm 1)."""
    counts = torch.stack(steps).double()
    rates, inverse_roots = _kept(lr / (1 - beta1**counts)), _kept((1 - beta2**counts).rsqrt())
    for i, (param, grad, mean, square) in enumerate(zip(params, grads, means, squares, strict=True)):
        grad = -grad if maximize else grad
        if weight_decay and decoupled:
            param.mul_(1 - lr * weight_decay)
        elif weight_decay:
            grad = grad + weight_decay * param
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if amsgrad:
            largest[i].copy_(torch.maximum(largest[i], square))
        spread = (largest[i] if amsgrad else square).sqrt() * inverse_roots[i] + eps
        param.sub_(rates[i] * mean / spread)


def _kept(numbers: Tensor) -> Tensor:
    """Each as the largest of equal ones, in float32: a result of a reduction, which the compiler keeps.

    Otherwise it would compute powers, roots and quotients anew in the loop over the elements of each tensor.
    """
    return numbers.float()[:, None].expand(-1, KEPT).amax(1)


def _adamw(*tensors: list[Tensor], **options: Any) -> None:
    _adam(*tensors, **options, decoupled=True)


def _sgd(
    params: list[Tensor], grads: list[Tensor], velocities: list[Tensor], *, weight_decay: float, momentum: float,
    lr: float, dampening: float, nesterov: bool, maximize: bool, is_first_step: bool, **_: Any,
) -> None:  # fmt: skip
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        grad = -grad if maximize else grad
        grad = grad + weight_decay * param if weight_decay else grad
        if momentum:
            velocities[i].copy_(grad if is_first_step else momentum * velocities[i] + (1 - dampening) * grad)
            grad = grad + momentum * velocities[i] if nesterov else velocities[i]
        param.sub_(lr * grad)


def _norms(tensors: list[Tensor], ord: float = 2, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Of float32: as sums, first of rows, that join the loops which make the tensors."""
    if ord != 2:
        return [torch.linalg.vector_norm(tensor, ord, dtype=dtype) for tensor in tensors]
    squares = (tensor.to(dtype or tensor.dtype).square() for tensor in tensors)
    return [(each.flatten(1).sum(1) if each.dim() > 1 and len(each) > 1 else each).sum().sqrt() for each in squares]


def _tanh(given: Tensor) -> Tensor:
    """On a CPU by one exponential, in a third of the time, and right to 2e-7: rounding of 1, not of small numbers."""
    if given.device.type != "cpu" or given.dtype not in (torch.float32, torch.bfloat16):
        return NotImplemented
    return (2 * torch.sigmoid(2 * given.float()) - 1).to(given.dtype)


ATEN = torch.ops.aten
WRITTEN_OUT: dict[Any, Callable] = {  # what the compiler takes for one operation each
    ATEN._fused_adam_.default: _adam,
    ATEN._fused_adamw_.default: _adamw,
    ATEN._fused_sgd_.default: _sgd,
    ATEN._foreach_norm.Scalar: _norms,
    ATEN.mm.default: product,
    ATEN.addmm.default: linear,
    ATEN.tanh.default: _tanh,
}
