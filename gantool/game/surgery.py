"""Changes to a network that is built already."""

import copy

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.networks import Discriminator
from gantool.game.types import Shape

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)  # that have weights to multiply with
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def frozen_copy(net: nn.Module) -> nn.Module:
    """Raises UsageError where a layer computes its weight beforehand, as torch's old weight_norm and spectral_norm."""
    try:
        return copy.deepcopy(net).requires_grad_(False)
    except RuntimeError as error:
        raise UsageError(
            f"{type(net).__name__} cannot be copied, which this needs ({str(error).split('. ')[0].rstrip('.')}): take "
            "torch.nn.utils.parametrizations.weight_norm or spectral_norm in place of torch.nn.utils's older ones"
        ) from error


class Appended(nn.Module):
    """(N, ...) -> (N, F + extra): what `trunk` makes of it, and what `layer` makes of that, in which examples meet."""

    reference_rows = 0  # the first so many examples are a reference batch, and the others are not to meet them

    def __init__(self, trunk: nn.Module, layer: nn.Module):
        super().__init__()
        self.trunk, self.layer = trunk, layer

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(image)
        batches = [batch for batch in features.tensor_split([self.reference_rows]) if len(batch)]
        return torch.cat([features, torch.cat([self.layer(batch) for batch in batches])], dim=1)


class Widened(nn.Module):
    """(N, F + extra) -> (N, K): a head, which keeps its F inputs and whatever it does to them, plus a linear map."""

    def __init__(self, head: nn.Module, num_features: int, extra: int, logits: int):
        super().__init__()
        self.head, self.more, self.num_features = head, nn.Linear(extra, logits, bias=False), num_features
        nn.init.uniform_(self.more.weight, -((num_features + extra) ** -0.5), (num_features + extra) ** -0.5)

    def forward(self, features: Tensor) -> Tensor:
        old, new = features.tensor_split([self.num_features], dim=1)
        return self.head(old) + self.more(new)


def with_head(nets: nn.ModuleDict, trick: str) -> Discriminator:
    """D, whose verdict its head makes of its features; UsageError where it is not so."""
    discriminator = nets["discriminator"]
    if not isinstance(discriminator, Discriminator) or discriminator.energy or not hasattr(discriminator, "head"):
        raise UsageError(f"trick.{trick} adds to what the last layer of D sees, and this D has no such layer: drop it")
    return discriminator


def append_features(discriminator: Discriminator, layer: nn.Module, extra: int) -> None:
    """D's head sees `extra` more numbers, which `layer` makes of its features, (N, F) -> (N, extra)."""
    discriminator.trunk = Appended(discriminator.trunk, layer)
    discriminator.head = Widened(discriminator.head, discriminator.num_features, extra, discriminator.logits)
    discriminator.num_features += extra
    if discriminator.projection is not None:
        discriminator.project(discriminator.projection.in_features)


def shape_of(nets: nn.ModuleDict) -> Shape:
    """Of the data."""
    generator = nets["generator"]
    return tuple(generator.shape)  # type: ignore[arg-type]
