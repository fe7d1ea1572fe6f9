"""Two samples compared by a kernel that is learnt."""

from torch import Tensor

from gantool.game.ranges import Count, Positive
from gantool.game.types import Turn, Verdict
from gantool.objectives.mmd import MomentMatching, pairs, squared_distances


class MMDGAN(MomentMatching):
    """D learns the kernel: it raises the MMD^2 of its embeddings h(v), `dimensions` numbers, and G lowers it.

    (Li et al. 2017, without their autoencoder; Binkowski et al. 2018.) A gradient penalty acts on the witness function
    E k(h(v), h(x)) - E k(h(v), h(G(z))) (Binkowski et al. 2018, section 2).
    """

    critic = True
    needs_lipschitz = True

    def __init__(
        self,
        dimensions: Count = 16,
        bandwidths: list[Positive] = [1.0, 2.0, 4.0, 8.0, 16.0],  # noqa: B006 (read only)
        relative: bool = False,
        unbiased: bool = True,
    ):
        super().__init__(bandwidths, relative, unbiased)
        self.logits = dimensions

    def d_loss(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return -self.distance(on_real.logits, on_fake.logits)

    def g_loss(self, turn: Turn, on_fake: Verdict) -> Tensor:
        return self.distance(turn.judge(turn.real, turn.label).logits, on_fake.logits)

    def estimate(self, turn: Turn, on_real: Verdict, on_fake: Verdict) -> Tensor:
        return self.distance(on_real.logits, on_fake.logits)

    def score(self, turn: Turn, image: Tensor, label: Tensor) -> Tensor:
        """The witness function, its expectations over this turn's batches."""
        here = turn.critic(image, label).logits
        real = turn.critic(turn.real, turn.label).logits
        fake = turn.critic(turn.fake, turn.fake_label).logits
        unit = self.unit(*pairs(squared_distances, real, fake)) if self.relative else real.new_ones(())
        to_real, to_fake = (self.kernel(squared_distances(here, each), unit) for each in (real, fake))
        return to_real.mean(dim=1) - to_fake.mean(dim=1)
