"""A generator that begins at the mean of the data."""

import pytest
import torch
from torch import nn

from gantool.game.images import to_float
from gantool.game.networks import ToImage
from gantool.game.surgery import LAYERS
from gantool.game.types import Images
from gantool.tricks.marginal_bias import MarginalBias
from toys import Scalar, composed_game, pictures, refusal

POINTS = Images(torch.randn(50, 2) + torch.tensor([3.0, -5.0]), torch.full((50,), -1))


def last_layer(generator: nn.Module) -> nn.Module:
    return [layer for layer in generator.modules() if isinstance(layer, LAYERS)][-1]


@pytest.mark.parametrize(
    ("architecture", "images"),
    [
        *((name, pictures(50, (2, 16, 16))) for name in ("mlp", "mlp_maxout", "dcgan", "dcgan_chen2016")),
        ("mlp", POINTS),
    ],
    ids=["tanh", "sigmoid", "tanh of channels", "sigmoid of channels", "points"],
)
def test_without_its_last_weights_g_makes_the_mean_of_the_data(compose, architecture, images):
    pixels = images.pixels.clone()
    if pixels.dim() == 4:
        pixels[:, :, 0] = 0  # a border that is always black
        pixels[:, 1] = pixels[:, 1] // 3
    images = Images(pixels, images.labels, images.names)
    game = composed_game(compose, f"architecture={architecture}", "trick=[marginal_bias]", images=images)
    generator = game.nets["generator"].eval()
    nn.init.zeros_(last_layer(generator).weight)
    made = generator(*game.source.latents()).detach()
    mean = to_float(pixels).mean(dim=0)
    if architecture.startswith("dcgan"):
        mean = mean.mean(dim=(1, 2), keepdim=True).expand(mean.shape)
    assert torch.allclose(made, mean.expand(made.shape), atol=1e-5)


def test_only_the_output_biases_change(compose):
    ends = []
    for tricks in ("[]", "[marginal_bias]"):
        torch.manual_seed(0)
        ends.append(dict(composed_game(compose, f"trick={tricks}").nets.named_parameters()))
    changed = [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])]
    assert len(changed) == 1
    assert changed[0].startswith("generator") and changed[0].endswith(".bias")


@pytest.mark.parametrize(
    "net",
    [
        Scalar(1.0), nn.Sequential(nn.Linear(3, 64, bias=False), ToImage((1, 8, 8))),
        nn.Sequential(nn.Linear(3, 9), ToImage((1, 8, 8))), nn.Sequential(nn.Linear(3, 64), nn.Tanh()),
    ],
    ids=["no layer", "no biases", "other biases", "another squash"],
)  # fmt: skip
def test_a_generator_without_output_biases_is_refused(compose, net):
    source = composed_game(compose).source
    told = refusal(MarginalBias().rewrite, nn.ModuleDict({"generator": net}), source)
    assert "needs a G that ends in a layer with biases" in told and "drop it" in told
