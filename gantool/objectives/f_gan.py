"""Any f-divergence, through its variational bound."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.errors import UsageError
from gantool.game.hooks import Objective
from gantool.game.types import Turn, Verdict

LOG2 = math.log(2)
STEEP = 60.0  # above it an exponential goes on as its tangent: e^60 tells D enough, and float32 ends at e^88


class Bound(NamedTuple):
    """How D's output a(v), any real number, enters E_p T - E_q f*(T), the lower bound of D_f(p || q)."""

    output: Callable[[Tensor], Tensor]  # T = g_f(a), increasing, in the domain of f*
    conjugate: Callable[[Tensor], Tensor]  # f*(g_f(a)), simplified: f* of the rounded T would overflow or cancel
    undecided: float = 0.0  # the logit at which T = f'(1), so p = q
    at_equality: float = 0.0  # f(1), which the bound reaches for p = q


BOUNDS = {  # of f(u), u = p/q:
    "kl": Bound(lambda a: a, lambda a: torch.exp(a - 1), undecided=1.0),  # u log u
    "reverse_kl": Bound(lambda a: -torch.exp(-a), lambda a: a - 1),  # -log u
    "pearson_chi2": Bound(lambda a: a, lambda a: a.square() / 4 + a),  # (u - 1)^2
    "neyman_chi2": Bound(lambda a: -torch.expm1(-a), lambda a: -2 * torch.expm1(-a / 2)),  # (1 - u)^2 / u
    "squared_hellinger": Bound(lambda a: -torch.expm1(-a), torch.expm1),  # (sqrt u - 1)^2
    "jensen_shannon": Bound(  # u log u - (u + 1) log((u + 1) / 2)
        lambda a: LOG2 - F.softplus(-a), lambda a: F.softplus(a) - LOG2
    ),
    "gan": Bound(lambda a: -F.softplus(-a), F.softplus, at_equality=-2 * LOG2),  # u log u - (u + 1) log(u + 1)
    "total_variation": Bound(lambda a: torch.tanh(a) / 2, lambda a: torch.tanh(a) / 2),  # |u - 1| / 2
}


class FGAN(Objective):
    """D raises a lower bound of D_f(p_data || p_g), G lowers it (Nowozin, Cseke and Tomioka 2016, tables 2 and 6).

    Where tables 2 and 6 differ in the sign of D's output, it is the one with which a high output says "real".
    `theory`: G lowers -E f*(T), the bound itself; `heuristic`: -E T, which keeps its slope (ibid., section 3.2).
    jensen_shannon and gan bound twice the Jensen-Shannon divergence, gan with log 4 less.
    """

    def __init__(
        self,
        divergence: Literal[
            "kl", "reverse_kl", "pearson_chi2", "neyman_chi2", "squared_hellinger", "jensen_shannon", "gan",
            "total_variation", "alpha",
        ] = "squared_hellinger",
        alpha: float = 0.5,
        generator: Literal["theory", "heuristic"] = "heuristic",
    ):  # fmt: skip
        super().__init__()
        self.bound = alpha_bound(alpha) if divergence == "alpha" else BOUNDS[divergence]
        self.threshold = self.bound.undecided
        self.zero_sum = generator == "theory"

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self.bound.conjugate(on_fake.logits).mean() - self.bound.output(on_real.logits).mean()

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        raised = self.bound.conjugate if self.zero_sum else self.bound.output
        return -raised(on_fake.logits).mean()

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        """A lower bound of D_f - f(1), which is 0 for p = q whatever f."""
        return -self.d_loss(turn, on_real, on_fake) - self.bound.at_equality


def alpha_bound(alpha: float) -> Bound:
    """f(u) = (u^alpha - 1 - alpha (u - 1)) / (alpha (alpha - 1)); Pearson's is twice that of 2, Neyman's of -1."""
    if alpha in (0, 1):
        name = "kl" if alpha == 1 else "reverse_kl"
        raise UsageError(f"alpha={alpha:g} is a limit without a formula of its own: take divergence={name}")
    power = alpha / (alpha - 1)
    if alpha > 1:
        return Bound(lambda a: a, lambda a: (((alpha - 1) * a + 1).clamp(min=0) ** power - 1) / alpha)
    top = 1 / (1 - alpha)  # of T; f*(T) = (((1 - alpha) (top - T))^power - 1) / alpha
    return Bound(
        lambda a: top - F.softplus(-a),
        lambda a: _expm1(power * (_log_softplus(-a) - math.log(top))) / alpha,
        undecided=-(top + math.log(-math.expm1(-top))),
    )


def _log_softplus(x: Tensor) -> Tensor:
    """log log(1 + e^x); far below zero it is x, where e^x would be lost."""
    return torch.where(x < -15, x, F.softplus(x.clamp(min=-15)).log())


def _expm1(x: Tensor) -> Tensor:
    return torch.expm1(x.clamp(max=STEEP)) + math.exp(STEEP) * (x - STEEP).clamp(min=0)
