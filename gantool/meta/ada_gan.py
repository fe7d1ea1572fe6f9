"""Boosting: each further generator is shown, above all, what the mixture of those before it lacks."""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool.game.meta import Examples, Meta
from gantool.game.ranges import Count, Positive, Share
from gantool.game.types import Trained

log = logging.getLogger(__name__)
CHUNK = 1000  # examples judged at a time


class AdaGAN(Meta):
    """A mixture that grows by one GAN at a time (Tolstikhin et al. 2017, algorithm 1).

    A discriminator between the data and the mixture tells how much of each example the mixture already draws; the next
    component is trained on the examples weighed by what is missing.
    """

    def __init__(
        self,
        components: Count = 5,
        beta: Share | None = None,  # share of each further component; None = 1/t for the t-th: all alike in the end
        discriminator_steps: Count = 1000,
        discriminator_lr: Positive = 1e-3,
    ):
        super().__init__(components)
        if beta == 0:
            raise ValueError("beta is the share of a further component in the mixture: give one above 0")
        self.beta, self.discriminator_steps, self.discriminator_lr = beta, discriminator_steps, discriminator_lr

    def reweigh(self, examples: Examples, trained: Trained, discriminator: nn.Module) -> tuple[float, Tensor]:
        share = self.beta or 1 / (len(self.components) + 2)
        log.info("a discriminator learns for meta.discriminator_steps=%d to weigh them", self.discriminator_steps)
        separate(discriminator, examples, trained, self.discriminator_steps, self.discriminator_lr)
        on_data, on_mixture = verdicts(discriminator, examples, trained)
        weights = importance(odds(on_data), share)
        log.info(
            "the mixture so far: a discriminator is right on %.0f%% of the data and %.0f%% of its samples; "
            "the next component gets a share of %.3f and is shown %.0f%% of the %d examples, effectively %.0f",
            100 * (on_data > 0).double().mean(), 100 * (on_mixture < 0).double().mean(), share,
            100 * (weights > 0).double().mean(), len(weights), 1 / (weights**2).sum(),
        )  # fmt: skip
        return share, weights


def odds(logits: Tensor) -> Tensor:
    """(M,) logits of D -> h(d) = (1 - d) / d = exp(-a) in float64: the mixture's density over the data's."""
    return torch.exp((-logits.double()).clamp(max=80.0))


def threshold(ratio: Tensor, beta: float) -> Tensor:
    """lambda*, with which the weights sum to 1, by sorting h(d_i) (ibid., algorithm 2, with p_i = 1/M).

    Over the k smallest ratios lambda would be (M beta + (1 - beta) sum h) / k; it is right for the first k for which
    the next ratio would get no weight.
    """
    ordered = ratio.sort().values
    count = torch.arange(1, len(ratio) + 1, device=ratio.device)
    level = (len(ratio) * beta + (1 - beta) * ordered.cumsum(0)) / count
    following = torch.cat([(1 - beta) * ordered[1:], ordered.new_full((1,), torch.inf)])
    return level[(level <= following).nonzero()[0, 0]]


def importance(ratio: Tensor, beta: float) -> Tensor:
    """(M,) w_i = (lambda* - (1 - beta) h(d_i))_+ / (M beta), the best next component (ibid., section 3)."""
    weights = F.relu(threshold(ratio, beta) - (1 - beta) * ratio)
    return weights / weights.sum()


def separate(discriminator: nn.Module, examples: Examples, trained: Trained, steps: int, lr: float) -> None:
    """Teaches D to tell the data, each example as likely, from the mixture: binary cross-entropy, by Adam.

    In batches of both: if each had its own, BatchNorm would tell them apart batch by batch, not example by example.
    """
    device, size = next(discriminator.parameters()).device, examples.batch_size
    unlabelled = torch.full((2 * size,), -1, device=device)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr, betas=(0.5, 0.999))
    for _ in range(steps):
        real, _ = examples.shown(torch.randint(examples.size, (size,), device=device))
        both = torch.cat([real, trained.fakes(size).to(device)])
        on_real, on_fake = discriminator(both, unlabelled).logits.split(size)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def verdicts(discriminator: nn.Module, examples: Examples, trained: Trained) -> tuple[Tensor, Tensor]:
    """D's logits (M,) of every example and (<= 10,000,) of fresh samples of the mixture, on the CPU."""
    device = next(discriminator.parameters()).device
    discriminator.eval()
    reals = (examples.shown(index)[0] for index in torch.arange(examples.size, device=device).split(CHUNK))
    fakes = trained.fakes(min(examples.size, 10_000)).split(CHUNK)

    def judge(image: Tensor) -> Tensor:
        label = torch.full((len(image),), -1, device=device)
        return discriminator(image.to(device), label).logits[:, 0].cpu()

    return torch.cat([judge(real) for real in reals]), torch.cat([judge(fake) for fake in fakes])
