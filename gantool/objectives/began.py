"""An autoencoder's game."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Objective
from gantool.game.ranges import NonNegative, Share
from gantool.game.types import Stats, Turn, Verdict


class BEGAN(Objective):
    """D reconstructs reals well and fakes badly, in equilibrium (Berthelot et al. 2017, section 3.4).

    D's verdict is L(v), the error with which it reconstructs v. D lowers L(x) - k L(G(z)), G lowers L(G(z)), and after
    each step of D, k moves by `rate` * (gamma L(x) - L(G(z))) within [0, 1], which keeps L(G(z)) near gamma L(x).
    While update=unrolled looks ahead, k stands still.
    """

    energy = True
    threshold = None
    k: Tensor
    balance: Tensor

    def __init__(self, gamma: Share = 0.5, rate: NonNegative = 0.001):
        super().__init__()
        self.gamma, self.rate = gamma, rate
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("balance", torch.zeros(()), persistent=False)  # gamma L(x) - L(G(z)) in D's last turn

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        real, fake = on_real.logits.mean(), on_fake.logits.mean()
        self.balance.copy_((self.gamma * real - fake).detach())
        return real - self.k.clone() * fake  # a graph that outlives the step must not see k move

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return on_fake.logits.mean()

    def after_d(self, nets: nn.ModuleDict) -> None:
        self.k.add_(self.rate * self.balance).clamp_(0, 1)

    def realness(self, logits: Tensor) -> Tensor:
        return -logits[:, 0]

    def report(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Stats:
        """k, and the global measure of convergence L(x) + |gamma L(x) - L(G(z))| (ibid., section 3.4.1)."""
        real, fake = on_real.logits.mean(), on_fake.logits.mean()
        return {"k": self.k.clone(), "convergence": real + (self.gamma * real - fake).abs()}
