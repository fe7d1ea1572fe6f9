"""Changes to a network that is built already."""

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.networks import Discriminator
from gantool.game.types import Shape

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)  # that have weights to multiply with
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Appended(nn.Module):
    """(N, ...) -> (N, F + extra): what `trunk` makes of it, and what `layer` makes of that."""

    def __init__(self, trunk: nn.Module, layer: nn.Module):
        super().__init__()
        self.trunk, self.layer = trunk, layer

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(image)
        return torch.cat([features, self.layer(features)], dim=1)


def with_head(nets: nn.ModuleDict, trick: str) -> Discriminator:
    """D, whose verdict is a linear map of its features; UsageError where it is not."""
    discriminator = nets["discriminator"]
    if not isinstance(discriminator, Discriminator) or not isinstance(getattr(discriminator, "head", None), nn.Linear):
        raise UsageError(f"trick.{trick} adds to what the last layer of D sees, and this D has no such layer: drop it")
    return discriminator


def append_features(discriminator: Discriminator, layer: nn.Module, extra: int) -> None:
    """D's head sees `extra` more numbers, which `layer` makes of its features, (N, F) -> (N, extra)."""
    assert isinstance(discriminator.head, nn.Linear)
    discriminator.trunk = Appended(discriminator.trunk, layer)
    discriminator.num_features += extra
    discriminator.head = _widened(discriminator.head, extra)
    if discriminator.projection is not None:
        discriminator.project(discriminator.projection.in_features)


def shape_of(nets: nn.ModuleDict) -> Shape:
    """Of the data."""
    generator = nets["generator"]
    return tuple(generator.shape)  # type: ignore[arg-type]


@torch.no_grad()
def _widened(head: nn.Linear, extra: int) -> nn.Linear:
    """A head with its weights, and new ones for further inputs."""
    wider = nn.Linear(head.in_features + extra, head.out_features, head.bias is not None)
    wider.weight[:, : head.in_features] = head.weight
    if head.bias is not None:
        wider.bias.copy_(head.bias)
    return wider
