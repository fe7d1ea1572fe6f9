"""Who moves, when, through which weights. An update is one step: a pure function of what is on the device."""

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gantool.game.game import Game
from gantool.game.hooks import Clock
from gantool.game.ranges import Count
from gantool.game.schedules import Schedule
from gantool.game.types import Stats

log = logging.getLogger(__name__)


class Player:
    """Parameters and the optimiser that moves them."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optimizer: Callable[..., torch.optim.Optimizer],  # parameters -> optimiser
        schedule: Schedule | None = None,  # of the learning rate; None = constant
    ):
        # torch's optimisers want something to move: a player without parameters has a number that no loss depends on
        self.parameters: list[Tensor] = list(parameters) or [torch.zeros((), requires_grad=True)]
        self.optimizer = optimizer(self.parameters, **_fast_options(optimizer, self.parameters))
        self.schedule = schedule if schedule is not None and schedule.kind != "constant" else None
        self.clock = Clock().to(self.parameters[0].device)

    def grads(self, loss: Tensor) -> Sequence[Tensor]:
        """Gradients for this player's parameters alone: nothing is computed for the other's."""
        return torch.autograd.grad(loss, self.parameters, materialize_grads=True)

    def apply(self, grads: Sequence[Tensor]) -> None:
        """One step of the optimiser. A schedule scales its displacement: torch's optimisers are linear in lr."""
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        if self.schedule is None:
            self.optimizer.step()
        else:
            with torch.no_grad():
                before = [parameter.clone() for parameter in self.parameters]
                self.optimizer.step()
                moved = torch._foreach_sub(self.parameters, before)
                torch._foreach_mul_(moved, self.schedule(self.clock.now))
                torch._foreach_copy_(self.parameters, torch._foreach_add(before, moved))
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        kind = type(self.optimizer).__name__
        return {"kind": kind, "moments": self.optimizer.state_dict()["state"], "steps": self.clock.now}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Moments and clock. The hyperparameters are this configuration's; another optimiser starts afresh."""
        self.clock.now.copy_(state["steps"])
        if state["kind"] == type(self.optimizer).__name__:
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
        else:
            log.warning(
                "%s has no use for the state of %s and starts afresh", type(self.optimizer).__name__, state["kind"]
            )


def _fast_options(optimizer: Callable[..., Any], parameters: list[Tensor]) -> dict[str, bool]:
    """fused where there is such a kernel; capturable on CUDA, so that a CUDA graph may hold the step."""
    known = inspect.signature(getattr(optimizer, "func", optimizer)).parameters
    given = getattr(optimizer, "keywords", {})
    device = parameters[0].device.type
    options = {"fused": device in ("cpu", "cuda"), "capturable": device == "cuda"}
    return {name: True for name, wanted in options.items() if wanted and name in known and name not in given}


class Update(Protocol):
    """The shelf of update rules."""

    discriminator_steps: int  # batches of reals that D is shown in one step

    def real_batches(self, game: Game) -> int:
        """How many batches of reals one step draws."""
        ...

    def __call__(self, game: Game, d: Player, g: Player) -> Stats: ...


class Alternating:
    """k steps of D, then m of G (Goodfellow et al. 2014, algorithm 1)."""

    def __init__(self, discriminator_steps: Count = 1, generator_steps: Count = 1):
        self.discriminator_steps, self.generator_steps = discriminator_steps, generator_steps

    def real_batches(self, game: Game) -> int:
        return self.discriminator_steps * game.objective.critic + self.generator_steps * game.needs_real

    def __call__(self, game: Game, d: Player, g: Player) -> Stats:
        for _ in range(self.discriminator_steps):
            d_loss, d_stats = game.d_loss()
            move(game, d, d.grads(d_loss))
            after_d(game)
        for _ in range(self.generator_steps):
            g_loss, g_stats = game.g_loss()
            move(game, g, g.grads(g_loss))
            after_g(game)
        end_round(game, d, g)
        return d_stats | g_stats


class Simultaneous:
    """Both players step at once, from the same weights (simultaneous ascent; Mescheder et al. 2017, section 2)."""

    discriminator_steps = 1

    def real_batches(self, game: Game) -> int:
        return game.objective.critic + game.needs_real

    def __call__(self, game: Game, d: Player, g: Player) -> Stats:
        d_loss, d_stats = game.d_loss()
        d_grads = d.grads(d_loss)
        g_loss, g_stats = game.g_loss()
        g_grads = g.grads(g_loss)
        move(game, d, d_grads)
        move(game, g, g_grads)
        after_d(game)
        after_g(game)
        end_round(game, d, g)
        return d_stats | g_stats


def move(game: Game, player: Player, grads: Sequence[Tensor]) -> None:
    """Let the hooks see the gradients, then step."""
    for hook in game.hooks.values():
        grads = hook.gradients(grads)
    player.apply(grads)


@torch.no_grad()
def after_d(game: Game) -> None:
    for hook in game.hooks.values():
        hook.after_d(game.nets)


@torch.no_grad()
def after_g(game: Game) -> None:
    for hook in game.hooks.values():
        hook.after_g(game.nets)


@torch.no_grad()
def end_round(game: Game, *players: Player) -> None:
    """Schedules count rounds, however many steps each player takes in one."""
    for hook in game.hooks.values():
        hook.after_round(game.nets)
    for player in players:
        player.clock.tick()
