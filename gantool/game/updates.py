"""Who moves, when, through which weights. An update is one step: a pure function of what is on the device."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gantool.errors import UsageError
from gantool.game.ahead import Ahead
from gantool.game.game import Game
from gantool.game.player import Player
from gantool.game.ranges import Count, Natural, NonNegative
from gantool.game.types import Critic, Stats, Verdict

log = logging.getLogger(__name__)


class Update(Protocol):
    """The shelf of update rules."""

    discriminator_steps: int  # batches of reals that D is shown in one step

    def real_batches(self, game: Game) -> int:
        """How many batches of reals one step draws: they lie ready before it. Streamed data takes no fewer, either."""
        ...

    def __call__(self, game: Game, d: Player, g: Player) -> Stats: ...


def begin(update: object, game: Game, d: Player, g: Player) -> None:
    """A rule that remembers something is a module; what it needs of the game for that it makes in `ready`."""
    if isinstance(update, nn.Module):
        ready: Any = getattr(update, "ready", None)
        if ready:
            ready(game, d, g)
        update.to(d.clock.now.device)


def state_of(update: object) -> dict[str, Any]:
    """What it remembers, for a checkpoint."""
    return {"kind": type(update).__name__, "state": update.state_dict() if isinstance(update, nn.Module) else {}}


def restore(update: object, saved: Mapping[str, Any] | None) -> None:
    """What this rule remembered; another rule begins afresh. UsageError where it now has other buffers."""
    kind = type(update).__name__
    if not isinstance(update, nn.Module) or saved is None or saved["kind"] != kind:
        if saved and saved["state"]:
            log.warning("%s has no use for what %s remembered", kind, saved["kind"])
        return
    mine, theirs = (
        {(name, each.shape) for name, each in kept.items()} for kept in (update.state_dict(), saved["state"])
    )
    if mine != theirs:
        raise UsageError(
            f"update: {kind} does not remember {min(mine ^ theirs)[0]} as the saved run did: let it register buffers "
            "in __init__, or in ready(self, game, d, g), which is called before the first step"
        )
    update.load_state_dict(saved["state"])


class Alternating:
    """k steps of D, then m of G (Goodfellow et al. 2014, algorithm 1).

    With `shared_fakes`, the last step of D and the first of G see the same ones, which are generated once, as in the
    code of Radford et al. (2016); else each step sees fresh ones, as in the paper.
    """

    def __init__(self, discriminator_steps: Count = 1, generator_steps: Count = 1, shared_fakes: bool = False):
        self.discriminator_steps, self.generator_steps = discriminator_steps, generator_steps
        self.shared_fakes = shared_fakes

    def real_batches(self, game: Game) -> int:
        return self.discriminator_steps * game.objective.critic + self.generator_steps * game.needs_real

    def __call__(self, game: Game, d: Player, g: Player) -> Stats:
        shared = None
        for step in range(self.discriminator_steps):
            shared = game.fakes() if self.shared_fakes and step == self.discriminator_steps - 1 else None
            d_loss, d_stats = game.d_loss(fakes=shared)
            d_norm = move(game, d, d.grads(d_loss))
            after_d(game)
        for step in range(self.generator_steps):
            g_loss, g_stats = game.g_loss(fakes=None if step else shared)
            g_norm = move(game, g, g.grads(g_loss))
            after_g(game)
        end_round(game, d, g)
        return d_stats | g_stats | norms(game, d_norm, g_norm)


class Simultaneous:
    """Both players step at once, from the same weights (simultaneous ascent; Mescheder et al. 2017, section 2).

    With `shared_fakes` they see the same ones, which are generated once, as in the released code of 2014, and judged
    once, where D's verdict is the same in both turns.
    """

    discriminator_steps = 1

    def __init__(self, shared_fakes: bool = False):
        self.shared_fakes = shared_fakes

    def real_batches(self, game: Game) -> int:
        return game.objective.critic + game.needs_real

    def __call__(self, game: Game, d: Player, g: Player) -> Stats:
        stats, *grads = self.field(game, d, g)
        d_norm, g_norm = self.step(game, (d, g), grads)
        after_d(game)
        after_g(game)
        end_round(game, d, g)
        return stats | norms(game, d_norm, g_norm)

    def field(self, game: Game, d: Player, g: Player) -> tuple[Stats, Sequence[Tensor], Sequence[Tensor]]:
        """Columns, and each player's gradients, at the present weights."""
        if self.shared_fakes and game.judges_once:
            d_loss, g_loss, stats = game.losses()
            return stats, d.grads(d_loss, keep_graph=True), g.grads(g_loss)
        shared = game.fakes() if self.shared_fakes else None
        d_loss, d_stats = game.d_loss(fakes=shared)
        d_grads = d.grads(d_loss)
        g_loss, g_stats = game.g_loss(fakes=shared)
        return d_stats | g_stats, d_grads, g.grads(g_loss)

    def step(self, game: Game, players: Sequence[Player], grads: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Moves both; the norms of their gradients."""
        return [move(game, player, mine) for player, mine in zip(players, grads, strict=True)]


class Optimistic(Simultaneous):
    """Each player steps twice as far and takes back its step before (Daskalakis et al. 2018, algorithm 1).

    With plain gradients, w - 2 lr g_t + lr g_(t-1); with Adam, the same of Adam's steps.
    """

    def step(self, game: Game, players: Sequence[Player], grads: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        return [move(game, player, mine, optimistic=True) for player, mine in zip(players, grads, strict=True)]


class ExtraGradient(Simultaneous):
    """Both players step to a point ahead, and then from where they were by the gradients there (Gidel et al. 2019).

    Each on batches of its own. Algorithm 2, whose projection bounds D's weights at both; with Adam it is algorithm 4,
    whose moments see both gradients.
    """

    discriminator_steps = 2

    def real_batches(self, game: Game) -> int:
        return 2 * super().real_batches(game)

    def step(self, game: Game, players: Sequence[Player], grads: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        here = [player.weights() for player in players]
        super().step(game, players, grads)
        bound_d(game)
        _, *ahead = self.field(game, *players)
        for player, weights in zip(players, here, strict=True):
            player.put_back(weights)
        return super().step(game, players, ahead)


class Consensus(Simultaneous):
    """Both players also lower gamma / 2 * |v|^2, v the gradients of both (Mescheder et al. 2017, algorithm 2)."""

    columns = ("consensus",)  # that no other update has
    differentiates_steps = True

    def __init__(self, gamma: NonNegative = 10.0):
        super().__init__()
        self.gamma = gamma

    def field(self, game: Game, d: Player, g: Player) -> tuple[Stats, Sequence[Tensor], Sequence[Tensor]]:
        d_loss, d_stats = game.d_loss(through_g=True)
        g_loss, g_stats = game.g_loss(through_d=True)
        grads = [*d.grads(d_loss, create_graph=True), *g.grads(g_loss, create_graph=True)]
        squares = torch.stack([grad.square().sum() for grad in grads]).sum() / 2
        bends = torch.autograd.grad(squares, [*d.parameters, *g.parameters], materialize_grads=True)
        total = torch._foreach_add([grad.detach() for grad in grads], list(bends), alpha=self.gamma)
        split = len(d.parameters)
        return d_stats | g_stats | {"consensus": squares.detach()}, total[:split], total[split:]


class Unrolled:
    """G plays against D as it will be `unrolled_steps` of D's steps later; its gradient passes through those steps.

    (Metz et al. 2017, equations 7, 9 and 11.) The steps ahead are those of D's own optimiser from its present state,
    each on batches of its own, and leave no trace in D, which itself takes one step, as in Alternating, which 0 are.
    Where the game is zero-sum, G lowers its whole value, as in equation 9: what D will say of reals depends on G too.
    """

    discriminator_steps = 1

    def __init__(self, unrolled_steps: Natural = 5):
        self.unrolled_steps = unrolled_steps
        self.differentiates_steps = unrolled_steps > 0

    def real_batches(self, game: Game) -> int:
        learns = game.objective.critic
        return (1 + self.unrolled_steps) * learns + game.g_reals(ahead=self._looks_ahead(game))

    def __call__(self, game: Game, d: Player, g: Player) -> Stats:
        d_loss, d_stats = game.d_loss()
        d_norm = move(game, d, d.grads(d_loss))
        after_d(game)
        g_loss, g_stats = game.g_loss(self._later(game, d) if self._looks_ahead(game) else None)
        g_norm = move(game, g, g.grads(g_loss))
        after_g(game)
        end_round(game, d, g)
        return d_stats | g_stats | norms(game, d_norm, g_norm)

    def _looks_ahead(self, game: Game) -> bool:
        return self.unrolled_steps > 0 and game.objective.critic

    def _later(self, game: Game, d: Player) -> Critic:
        """D as it will be, whose weights are functions of G's."""
        net = game.nets["discriminator"]
        weights, number = list(d.parameters), {id(weight): index for index, weight in enumerate(d.parameters)}
        held, buffers, clones = dict[str, int](), dict[str, Tensor](), dict[int, Tensor]()
        for layer, module in net.named_modules():  # each once; a tensor may be of several layers
            place = f"{layer}." if layer else ""
            for name, weight in module._parameters.items():
                if id(weight) in number:
                    held[place + name] = number[id(weight)]
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    buffers[place + name] = clones.setdefault(id(buffer), buffer.clone())
        ahead = Ahead(d)

        def critic(image: Tensor, label: Tensor) -> Verdict:
            later = {name: weights[index] for name, index in held.items()}
            return functional_call(net, buffers | later, (image, label), tie_weights=False)

        for _ in range(self.unrolled_steps):
            loss, _ = game.d_loss(critic, through_g=True)
            grads = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
            weights = ahead.step(weights, hooked(game, grads))
        return critic


def hooked(game: Game, grads: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradients as the hooks let them pass."""
    for hook in game.hooks.values():
        grads = hook.gradients(grads)
    return grads


def move(game: Game, player: Player, grads: Sequence[Tensor], optimistic: bool = False) -> Tensor:
    """Let the hooks see the gradients, then step. Returns the norm of all the gradients that were stepped by."""
    grads = hooked(game, grads)
    player.apply(grads, optimistic)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads))))


def norms(game: Game, d_norm: Tensor, g_norm: Tensor) -> Stats:
    """As columns; where no D learns it has no gradients."""
    return ({"d_grad_norm": d_norm} if game.objective.critic else {}) | {"g_grad_norm": g_norm}


@torch.no_grad()
def bound_d(game: Game) -> None:
    for hook in game.hooks.values():
        hook.bound_d(game.nets)


@torch.no_grad()
def after_d(game: Game) -> None:
    bound_d(game)
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
