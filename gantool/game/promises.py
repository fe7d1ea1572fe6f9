"""What classes of one's own give, where it is not what was asked for: said of them, and not found deep inside."""

from typing import Any

import torch
from torch import Tensor

from gantool.errors import UsageError


def one_number(value: Any, owner: object, what: str) -> Tensor:
    """Raises UsageError unless `value`, which `owner.what` gave, is a tensor of one number without dimensions."""
    if isinstance(value, Tensor) and value.dim() == 0:
        return value
    got = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else _article(value)
    raise UsageError(f"{type(owner).__name__}.{what} must give one number, a tensor without dimensions, not {got}")


def learnable(loss: Tensor, owner: object, what: str) -> Tensor:
    """Raises UsageError where a loss has no gradients to give."""
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise UsageError(
            f"{type(owner).__name__}.{what} depends on no weight that learns: is it detached, or are all frozen?"
        )
    return loss


def _article(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
