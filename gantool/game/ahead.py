"""Steps of an optimiser as functions of the gradients, so that they can be differentiated."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from gantool.errors import UsageError
from gantool.game.player import Player

DONE = {  # options that `Ahead` heeds, and those that change the speed of a step only
    "params", "lr", "betas", "eps", "weight_decay", "decoupled_weight_decay", "alpha", "momentum", "dampening",
    "nesterov", "foreach", "fused", "capturable", "differentiable",
}  # fmt: skip
State = dict[str, Any]  # of one weight; its entries are replaced, never written to


class Ahead:
    """The steps that a player's optimiser would take from where it is, with what it remembers; the player stays."""

    def __init__(self, player: Player):
        optimizer = player.optimizer
        check_differentiable(optimizer)
        (self.group,) = optimizer.param_groups
        self.direction = DIRECTIONS[type(optimizer)]
        self.decoupled = self.group.get("decoupled_weight_decay", isinstance(optimizer, AdamW))
        self.rate = self.group["lr"] * player.factor()
        self.states: list[State] = [dict(optimizer.state[weight]) for weight in player.parameters]

    def step(self, weights: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
        return [self._moved(*each) for each in zip(weights, grads, self.states, strict=True)]

    def _moved(self, weight: Tensor, grad: Tensor, state: State) -> Tensor:
        decay = self.group["weight_decay"] * weight
        if self.decoupled:  # Loshchilov and Hutter 2019, algorithm 2
            return weight - self.rate * (decay + self.direction(grad, state, self.group))
        return weight - self.rate * self.direction(grad + decay, state, self.group)


def check_differentiable(optimizer: Optimizer) -> None:
    """Raises UsageError where `Ahead` does not know this optimiser, or something that it is to do besides."""
    name = type(optimizer).__name__
    if type(optimizer) not in DIRECTIONS:
        names = ", ".join(sorted(kind.__name__ for kind in DIRECTIONS))
        raise UsageError(f"update=unrolled cannot differentiate a step of {name}: give D one of {names}")
    for option, value in optimizer.param_groups[0].items():
        if option not in DONE and value:
            raise UsageError(
                f"update=unrolled cannot differentiate a step of {name} with {option}={value}: leave out "
                f"optimizer.discriminator.{option}, or take another update"
            )


def _adam(grad: Tensor, state: State, group: dict[str, Any]) -> Tensor:
    """Kingma and Ba 2014, algorithm 1."""
    b1, b2 = group["betas"]
    step = state["step"] = state["step"] + 1
    first = state["exp_avg"] = b1 * state["exp_avg"] + (1 - b1) * grad
    second = state["exp_avg_sq"] = b2 * state["exp_avg_sq"] + (1 - b2) * grad.square()
    return first / (1 - b1**step) / (_root(second / (1 - b2**step)) + group["eps"])


def _rmsprop(grad: Tensor, state: State, group: dict[str, Any]) -> Tensor:
    """Hinton 2012, lecture 6e."""
    share = group["alpha"]
    square = state["square_avg"] = share * state["square_avg"] + (1 - share) * grad.square()
    scaled = grad / (_root(square) + group["eps"])
    if group["momentum"]:
        scaled = state["momentum_buffer"] = group["momentum"] * state["momentum_buffer"] + scaled
    return scaled


def _sgd(grad: Tensor, state: State, group: dict[str, Any]) -> Tensor:
    """Sutskever et al. 2013, equations 1 and 3, as torch writes them."""
    momentum = group["momentum"]
    if not momentum:
        return grad
    velocity = state["momentum_buffer"] = momentum * state["momentum_buffer"] + (1 - group["dampening"]) * grad
    return grad + momentum * velocity if group["nesterov"] else velocity


def _root(square: Tensor) -> Tensor:
    """A square root with a slope at 0, where a gradient that is always 0 (a dead unit's) would make it 0 * infinity."""
    return (square + torch.finfo(square.dtype).tiny).sqrt()


DIRECTIONS: dict[type, Callable[[Tensor, State, dict[str, Any]], Tensor]] = {
    Adam: _adam, AdamW: _adam, RMSprop: _rmsprop, SGD: _sgd,
}  # fmt: skip
