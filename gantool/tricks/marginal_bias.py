"""A generator that begins at the mean of the data."""

import torch
from torch import nn

from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.game.networks import ToImage
from gantool.game.surgery import LAYERS
from gantool.game.types import Source

LEAST = 1e-7  # a mean is at least so far from the ends of the pixels' range, as a share of it


class MarginalBias(Trick):
    """G's output biases start where its output would be the mean of the data, if its last weights were 0.

    (Goodfellow et al. 2014, released configuration, init_sigmoid_bias_from_marginals.) Pixels that are the same in all
    the data, such as a black border, need not be learnt. A layer with a bias for each channel takes the channel's mean.
    The mean is that of all examples alike, whatever a meta-algorithm makes them weigh.
    """

    @torch.no_grad()
    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        generator, mean = nets["generator"], source.mean().cpu()
        layers = [layer for layer in generator.modules() if isinstance(layer, LAYERS)]
        bias = layers[-1].bias if layers else None
        squash = next((layer.squash for layer in generator.modules() if isinstance(layer, ToImage)), None)
        if bias is None or bias.numel() not in (mean.numel(), len(mean)) or (squash is None and mean.dim() == 3):
            raise UsageError("trick.marginal_bias needs a G that ends in a layer with biases and ToImage: drop it")
        if bias.numel() < mean.numel():
            mean = mean.flatten(1).mean(dim=1)
        if squash in ("tanh", "sigmoid"):  # tanh(x) = 2 sigmoid(2 x) - 1
            mean = torch.logit((mean.double() + 1) / 2, eps=LEAST) / (2 if squash == "tanh" else 1)
        bias.copy_(mean.flatten())
