"""What classes of one's own give, where it is not what was asked for: said of them, and not found deep inside."""

import inspect
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Objective, Trick

ROW = ("step", "images", "seconds", "images_per_second", "component", "measured")  # in each row, beside a step's own


def one_number(value: Any, owner: object, what: str) -> Tensor:
    """Raises UsageError unless `value`, which `owner.what` gave, is a tensor of one number without dimensions."""
    if isinstance(value, Tensor) and value.dim() == 0:
        return value
    raise UsageError(
        f"{type(owner).__name__}.{what} must give one number, a tensor without dimensions, not {kind_of(value)}"
    )


def learnable(loss: Tensor, owner: object, what: str) -> Tensor:
    """Raises UsageError where a loss has no gradients to give."""
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise UsageError(
            f"{type(owner).__name__}.{what} depends on no weight that learns: is it detached, or are all frozen?"
        )
    return loss


def callable_as(owner: object, said: str, *arguments: str, method: str = "__call__", **named: str) -> None:
    """Raises UsageError unless a method can be called with so many arguments, and those of these names."""
    told, given = f"{said}: {type(owner).__name__}", f"({', '.join([*arguments, *named])})"
    called = owner if method == "__call__" else getattr(owner, method, None)
    if not callable(called):
        raise UsageError(f"{told} has no {method}{given}")
    try:
        inspect.signature(called).bind(*arguments, **named)
    except ValueError:  # written in C, without a signature to read
        return
    except TypeError as error:
        of = "" if method == "__call__" else f".{method}"
        raise UsageError(f"{told}{of} cannot be called with {given}: {error}") from error


def hooks(hook: Trick, name: str) -> None:
    """Raises UsageError where a hook of a trick or an objective cannot be called as it will be."""
    for base in (Trick, Objective) if isinstance(hook, Objective) else (Trick,):
        for method, usual in vars(base).items():
            own = getattr(type(hook), method)
            if inspect.isfunction(usual) and not method.startswith("_") and own is not usual:
                callable_as(hook, name, *[*inspect.signature(usual).parameters][1:], method=method)


def latents(prior: Any, n: int, dim: int) -> None:
    """Raises UsageError where a prior does not give latents: it is asked for some, of random numbers of its own."""
    callable_as(prior, "prior", "n", "dim", "device")
    callable_as(prior, "prior", "n", "dim", generator="generator")
    drawn = prior(n, dim, generator=torch.Generator().manual_seed(0))
    if not isinstance(drawn, Tensor) or drawn.shape != (n, dim) or drawn.dtype != torch.float32:
        name = type(prior).__name__
        raise UsageError(f"prior: {name} must give float32 ({n}, {dim}), n latents, and gives {kind_of(drawn)}")


def a_verdict(given: Any, n: int, critic: object) -> Any:
    """Raises UsageError unless a discriminator gave Verdict(logits, features) of n examples."""
    if not hasattr(given, "logits") or not hasattr(given, "features"):
        raise UsageError(f"{_named(critic)} must give Verdict(logits, features), and gives {kind_of(given)}")
    for name, value in (("logits", given.logits), ("features", given.features)):
        if not isinstance(value, Tensor) or value.dim() < 2 or len(value) != n:
            raise UsageError(f"{_named(critic)} must give {name} ({n}, ...), a row an example, not {kind_of(value)}")
    return given


def one_each(given: Any, n: int, generator: object) -> Tensor:
    """Raises UsageError unless a generator gave n examples, as numbers with a fraction."""
    if isinstance(given, Tensor) and given.dim() > 1 and len(given) == n and given.is_floating_point():
        return given
    raise UsageError(f"{_named(generator)} must give {n} examples for {n} latents, and gives {kind_of(given)}")


def examples(fake: Tensor, real: Tensor, generator: object) -> Tensor:
    """Raises UsageError unless what a generator gave is of the shape of the data."""
    if fake.shape[1:] == real.shape[1:]:
        return fake
    shape, got = tuple(real.shape[1:]), tuple(fake.shape[1:])
    raise UsageError(f"{_named(generator)} must give examples of the data's shape {shape}, and gives {got}")


def pair(given: Any, owner: object, what: str) -> tuple[Tensor, Tensor]:
    """Raises UsageError unless a hook gave two tensors."""
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
        one, other = given
        return one, other
    raise UsageError(f"{type(owner).__name__}.{what} must give two tensors, and gives {kind_of(given)}")


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
        got = "an empty one" if isinstance(stats, dict) else kind_of(stats)
        raise UsageError(f"update: {type(update).__name__} must give a dictionary, column: number, not {got}")
    new_names(stats, ROW, update)
    return {name: one_number(value, update, f"__call__()[{name!r}]") for name, value in stats.items()}


def new_names(given: Iterable[str], taken: Collection[str], owner: object) -> None:
    """Raises UsageError where a column is called as another is that each row has."""
    for name in given:
        if name in taken:
            raise UsageError(f"{type(owner).__name__} gives the column {name}, which each row has already: rename it")


def _named(owner: object) -> str:
    return f"{type(owner).__name__}.forward()" if isinstance(owner, nn.Module) else type(owner).__name__


def kind_of(value: Any) -> str:
    """`torch.float32 (8, 2)`, `None` or `a list`."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
