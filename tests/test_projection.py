"""The projection discriminator, against the equations of Miyato and Koyama 2018 (arXiv:1802.05637)."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from gantool.architectures import mlp
from gantool.config.build import Builder
from gantool.game.updates import Player
from gantool.objectives.non_saturating import NonSaturating
from test_conditioning import (
    CLASSES,
    NEEDS,
    NETS,
    PROJECTED,
    SHAPE,
    TOLD,
    Ramps,
    answers,
    built,
    built_config,
    options,
    told_d,
    trained,
)  # fmt: skip
from test_no_sync import NoPython, NoSync
from toys import refusal


def projected(shape=(3,), num_classes=4, logits=1, hidden=(6,), seed=0) -> mlp.Discriminator:
    torch.manual_seed(seed)
    net = mlp.Discriminator(shape, logits=logits, hidden=list(hidden))
    net.project(num_classes)
    return net.double().eval()


def test_projection_by_hand():
    """f(x, y) = y^T V phi(x) + psi(phi(x)) (Miyato and Koyama 2018, equation 5), psi linear; y = 0 if unknown."""
    net, x, label = projected(), torch.randn(5, 3).double().requires_grad_(True), torch.tensor([0, 3, 1, -1, 2])
    weight, bias = (p.detach() for p in net.trunk[1].parameters())
    phi = x @ weight.T + bias
    phi = torch.where(phi > 0, phi, 0.2 * phi)
    v = net.projection.weight.detach().T  # (classes, features): row y is the vector of class y
    assert v.shape == (4, 6)
    y = torch.eye(5, dtype=torch.float64)[label, :4]  # -1 is the fifth row, whose first four numbers are zeros
    psi = phi @ net.head.weight.detach().T + net.head.bias.detach()
    expected = torch.einsum("nc,cf,nf->n", y, v, phi)[:, None] + psi
    found = net(x, label)
    assert torch.allclose(found.logits, expected, rtol=1e-12)
    assert torch.allclose(found.features, phi, rtol=1e-12)
    assert torch.equal(found.logits[3], psi[3])
    (slope,) = torch.autograd.grad(found.logits.sum(), x)
    assert torch.allclose(slope, torch.autograd.grad(expected.sum(), x)[0], rtol=1e-12), "through phi, both terms"


def test_only_the_first_of_several_numbers_gets_it(compose):
    """InfoGAN's Q shares the trunk, and is not told the class."""
    game = built(compose, "objective=info", TOLD, PROJECTED)
    discriminator, x = game.nets["discriminator"], torch.randn(4, *SHAPE)
    told, other, unknown = answers(discriminator, x, 0, 1, -1)
    assert told.shape == (4, 1 + 12)
    assert torch.equal(told[:, 1:], other[:, 1:]) and torch.equal(told[:, 1:], unknown[:, 1:])
    assert bool((told[:, 0] != other[:, 0]).all())
    assert torch.equal(unknown, discriminator.head(discriminator.trunk(x)))


def test_class_vectors_start_as_in_the_released_code():
    """Uniform with Glorot's bound sqrt(6 / (classes + features))."""
    weight = projected(num_classes=50, hidden=(40,)).projection.weight.detach()
    assert float(weight.abs().max()) == pytest.approx(math.sqrt(6 / 90), rel=0.01)
    assert float(weight.std()) == pytest.approx(math.sqrt(6 / 90 / 3), rel=0.05)


@pytest.mark.parametrize("net", NETS)
def test_spectral_norm_reaches_the_class_vectors(compose, net):
    """After some power iterations the largest singular value of V is 1, as that of every other layer."""
    game = built(compose, net, TOLD, PROJECTED, "trick=[spectral_norm]").train()
    discriminator = game.nets["discriminator"]
    raw = discriminator.projection.parametrizations.weight.original
    with torch.no_grad():
        raw.mul_(7)
        for _ in range(200):
            discriminator(torch.randn(2, *SHAPE), torch.tensor([0, 1]))
        discriminator.eval()
        assert float(torch.linalg.matrix_norm(discriminator.projection.weight, 2)) == pytest.approx(1, abs=0.02)
    assert any(raw is parameter for parameter in discriminator.parameters())


@pytest.mark.parametrize("objective", options("objective"))
def test_projection_with_every_objective_that_has_a_verdict(compose, objective):
    """Steps that wait for nothing; D is told by the projection alone: its trunk sees the image as it is."""
    chosen = [f"objective={objective}", TOLD, PROJECTED, "batch_size=4", *NEEDS.get(objective, [])]
    declared = Builder().choice(built_config(compose, *chosen), (1, 8, 8), CLASSES).objective
    scores = not declared.energy and declared.critic and declared.realness(torch.zeros(1, declared.logits)) is not None
    if not scores or not declared.tells_class or declared.matches_features:
        assert "drop architecture.projection=true" in refusal(built, compose, *chosen) or not declared.tells_class
        return
    game = built(compose, *chosen).train()
    discriminator = game.nets["discriminator"]
    before = discriminator.projection.weight.detach().clone()
    d = Player(discriminator.parameters(), partial(torch.optim.Adam, lr=0.01))
    with NoSync(), NoPython():
        d.apply(d.grads(game.d_loss()[0]))
        game.g_loss()
    assert not torch.equal(before, discriminator.projection.weight.detach())
    assert discriminator.trunk(torch.randn(2, *SHAPE)).shape == (2, discriminator.num_features)


# ---------------------------------------------------------------- what a trained D says


class Bells(Ramps):
    """p(x | 0) = N(-1, 1), p(x | 1) = N(1, 1), q(x | y) = N(0, 1): log ratios -x - 1/2 and x - 1/2."""

    def _normal(self) -> Tensor:
        return torch.special.ndtri(self._draws()[1].double().clamp(1e-6, 1 - 1e-6)).float()

    def reals(self) -> tuple[Tensor, Tensor]:
        return self._both(self._normal() - 1, self._normal() + 1)

    def latents(self) -> tuple[Tensor, Tensor]:
        return self._both(self._normal(), self._normal())


def test_projection_finds_the_one_vector_of_its_class_where_features_are_given():
    """phi(x) = x, so f(x, y) = v_y x + w x + b, which holds the truth: v_0 + w = -1, v_1 + w = 1, b = -1/2.

    The log-linear model of Miyato and Koyama 2018, equations 3 and 4. The unknown class, w x + b, is not determined.
    """
    net = trained(NonSaturating(), Bells(), told_d([], "projection"), steps=600, lr=0.05)
    v, w = net.projection.weight.detach()[0], net.head.weight.detach()[0, 0]
    assert (v + w).tolist() == pytest.approx([-1, 1], abs=0.05)
    assert float(net.head.bias.detach()) == pytest.approx(-0.5, abs=0.05)
