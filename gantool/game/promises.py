"""What classes of one's own give, where it is not what was asked for: said of them, and not found deep inside."""

import inspect
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


def callable_as(owner: object, said: str, *arguments: str, **named: str) -> None:
    """Raises UsageError unless an object can be called with so many arguments, and those of these names."""
    told = f"{said}: {type(owner).__name__}"
    if not callable(owner):
        raise UsageError(f"{told} has no __call__({', '.join([*arguments, *named])})")
    try:
        inspect.signature(owner).bind(*arguments, **named)
    except TypeError as error:
        raise UsageError(f"{told} cannot be called with ({', '.join([*arguments, *named])}): {error}") from error


def latents(prior: Any, n: int, dim: int) -> None:
    """Raises UsageError where a prior does not give latents: it is asked for some, of random numbers of its own."""
    callable_as(prior, "prior", "n", "dim", "device")
    callable_as(prior, "prior", "n", "dim", generator="generator")
    drawn = prior(n, dim, generator=torch.Generator().manual_seed(0))
    if not isinstance(drawn, Tensor) or drawn.shape != (n, dim) or drawn.dtype != torch.float32:
        kind = f"{drawn.dtype} {list(drawn.shape)}" if isinstance(drawn, Tensor) else _article(drawn)
        raise UsageError(f"prior: {type(prior).__name__} must give float32 {[n, dim]}, n latents, and gives {kind}")


def real_batches(told: Any, update: object) -> int:
    """Raises UsageError unless an update rule told how many batches of reals a step draws."""
    if isinstance(told, int) and told >= 1:
        return told
    rule = type(update).__name__
    raise UsageError(
        f"update: {rule}.real_batches() must give how many batches of reals a step draws, a whole number from 1, "
        f"not {told}"
    )


def columns(stats: Any, update: object) -> dict[str, Tensor]:
    """Raises UsageError where an update does not give what is logged of a step."""
    if not isinstance(stats, dict) or not stats:
        got = "an empty one" if isinstance(stats, dict) else _article(stats)
        raise UsageError(f"update: {type(update).__name__} must give a dictionary, column: number, not {got}")
    return {name: one_number(value, update, f"__call__()[{name!r}]") for name, value in stats.items()}


def _article(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
