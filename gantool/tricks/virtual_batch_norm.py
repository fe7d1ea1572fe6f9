"""Batch normalisation by a batch that stays the same."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.game.surgery import BATCH_NORMS, Appended
from gantool.game.types import Source, Verdict


class VirtualBatchNorm(Trick):
    """BatchNorm's statistics come from a reference batch that is chosen once (Salimans et al. 2016, section 3.5).

    Virtual: an example is normalised by the reference batch and itself. `virtual` = False is reference batch
    normalisation: by the reference batch alone (Goodfellow 2016, section 4.3). The reference batch passes through the
    net before each batch, so an example's output depends on no other example; it costs a batch more. D's is of reals as
    they are in the data: what other tricks do to D's view of an image (noise, augmentation) is not done to it.
    """

    rewrites_last = True

    def __init__(self, player: Literal["discriminator", "generator", "both"] = "generator", virtual: bool = True):
        super().__init__()
        self.players = ("discriminator", "generator") if player == "both" else (player,)
        self.virtual, self.needs_critic = virtual, player == "discriminator"

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        for player in self.players:
            net, reference = nets[player], source.latents() if player == "generator" else source.reference()
            if not _replace(net, self.virtual, source.batch_size):
                other = "choose player=generator, " if player == "discriminator" else ""
                raise UsageError(
                    f"the {player} has no BatchNorm to replace: give it some "
                    f"(architecture.{player}.normalization=batch; where that is so already, more layers, for a dcgan "
                    f"by a larger dataset.resolution), {other}or drop the trick"
                )
            net.register_buffer("reference", reference[0].detach().clone())
            net.register_buffer("reference_label", reference[1].clone())
            net.register_forward_pre_hook(_prepend)
            net.register_forward_hook(_strip)


class ReferenceNorm(nn.Module):
    """(R + N, F, ...): the first R rows, the reference, by their own moments; each other row by theirs, and its own."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, virtual: bool, rows: int):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.virtual, self.rows = virtual, rows

    def forward(self, x: Tensor) -> Tensor:
        within = tuple(range(2, x.dim()))  # the pixels of a map
        reference, others = x.float().tensor_split([self.rows])
        mean = reference.mean(dim=(0, *within), keepdim=True)
        variance = reference.var(dim=(0, *within), correction=0, keepdim=True)
        normed = [(reference - mean) * torch.rsqrt(variance + self.eps)]
        if self.virtual:
            mean, variance = self._joined(mean, variance, others, within)
        normed.append((others - mean) * torch.rsqrt(variance + self.eps))
        shape = (1, -1, *(1 for _ in within))
        return (torch.cat(normed) * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _joined(self, mean: Tensor, variance: Tensor, others: Tensor, within: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(N, F, ...) moments of the reference and each example together: it is one of R + 1."""
        share = 1 / (self.rows + 1)
        own = others.mean(within, keepdim=True) if within else others
        spread = others.var(within, correction=0, keepdim=True) if within else torch.zeros_like(others)
        between = share * (1 - share) * (own - mean).square()
        return mean + share * (own - mean), (1 - share) * variance + share * spread + between


def _replace(net: nn.Module, virtual: bool, rows: int) -> int:
    """Puts a ReferenceNorm in the place of each BatchNorm; how many there were."""
    found = [
        (parent, name)
        for parent in net.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, BATCH_NORMS)
    ]
    for parent, name in found:
        setattr(parent, name, ReferenceNorm(getattr(parent, name), virtual, rows))
    for layer in net.modules():
        if isinstance(layer, Appended):
            layer.reference_rows = rows
    return len(found)


def _prepend(net: Any, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    values, label = inputs
    return torch.cat([net.reference.to(values.dtype), values]), torch.cat([net.reference_label, label])


def _strip(net: Any, inputs: Any, output: Any) -> Any:
    rows = len(net.reference)
    return Verdict(output.logits[rows:], output.features[rows:]) if isinstance(output, Verdict) else output[rows:]
