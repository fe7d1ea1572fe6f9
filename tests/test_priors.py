"""Latents have the distribution that their name says."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.errors import UsageError
from gantool.priors.normal import Normal, bent
from gantool.priors.sphere import Sphere
from gantool.priors.truncated_normal import TruncatedNormal
from gantool.priors.uniform import Uniform

PRIORS = sorted(path.stem for path in (conf_dir() / "prior").glob("*.yaml"))
N = 100_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def furthest(z: Tensor, cdf) -> float:
    """Kolmogorov and Smirnov's distance of (N,) draws from a distribution, times sqrt N; above 1.95 with p < 0.001."""
    z = z.flatten().double().sort().values
    steps = torch.arange(1, len(z) + 1) / len(z)
    return float((cdf(z) - steps).abs().max()) * len(z) ** 0.5


def phi(z: Tensor) -> Tensor:
    return torch.special.ndtr(z.double())


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_gives_what_was_asked_for(compose, name):
    prior = Builder().make("prior", compose(f"prior={name}").prior)
    z = prior(7, 5, generator=seeded())
    assert (z.shape, z.dtype, z.device.type) == ((7, 5), torch.float32, "cpu")
    assert torch.equal(z, prior(7, 5, generator=seeded()))
    assert not torch.equal(z, prior(7, 5, generator=seeded(1)))
    assert len(z.unique()) == 35
    torch.manual_seed(3)
    first = prior(7, 5)
    assert not torch.equal(first, prior(7, 5))
    torch.manual_seed(3)
    assert torch.equal(first, prior(7, 5))


@pytest.mark.parametrize("name", PRIORS)
def test_a_seeded_draw_leaves_the_global_random_numbers_alone(compose, name):
    prior, before = Builder().make("prior", compose(f"prior={name}").prior), torch.get_rng_state()
    prior(7, 5, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_normal():
    assert furthest(Normal()(N, 1, generator=seeded()), phi) < 1.95
    z = Normal()(N, 3, generator=seeded())
    assert torch.allclose(z.T @ z / N, torch.eye(3), atol=0.02)


@pytest.mark.parametrize("t", [0.3, 0.7, 1.0, 2.0])
def test_truncated_normal(t):
    """The normal's density within [-t, t], not the normal clamped to it (Brock et al. 2019, section 3.1)."""
    z = Normal().truncated(N, 1, t, generator=seeded())
    assert z.dtype == torch.float32
    assert z.abs().max() <= t
    low, high = phi(torch.tensor(-t)), phi(torch.tensor(t))
    assert furthest(z, lambda v: (phi(v) - low) / (high - low)) < 1.95
    density = math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * t * density / float(high - low)
    assert float(z.square().mean()) == pytest.approx(variance, rel=0.02)


class Dtypes(TorchDispatchMode):
    """Those of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        made = op(*args, **(kwargs or {}))
        self.seen.add(made.dtype)
        return made


def test_truncated_normal_on_a_device_needs_no_float64():
    """Apple's GPUs have none; the meta device stands for them."""
    with Dtypes() as dtypes:
        z = TruncatedNormal(1.0)(7, 5, torch.device("meta"))
    assert z.shape == (7, 5) and dtypes.seen == {torch.float32}


@pytest.mark.parametrize("t", [0.3, 2.0, 50.0])
def test_truncated_normal_of_float32_draws(t):
    """Those of float64 to five digits, in the tails too, but for the last before infinity."""
    uniform = torch.linspace(0, 1, 10_001, dtype=torch.float64)[1:-1]
    exact = bent(uniform, t)
    assert torch.allclose(bent(uniform.float(), t).double(), exact, rtol=2e-4, atol=2e-6)
    ends = bent(torch.tensor([0.0, 1 - 2**-24]), t)
    assert ends.abs().max() < 6 and ends.abs().max() <= t


@pytest.mark.parametrize("t", [9.0, 50.0])
def test_normal_truncated_far_out_is_normal(t):
    z = Normal().truncated(N, 1, t, generator=seeded())
    assert torch.isfinite(z).all()
    assert furthest(z, phi) < 1.95


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_prior_truncated_normal_has_the_moments_of_the_closed_form(compose, bound):
    """Variance 1 - 2 b phi(b) / (2 Phi(b) - 1), fourth moment 3 variance - 2 b^3 phi(b) / (2 Phi(b) - 1), mean 0."""
    prior = Builder().make("prior", compose("prior=truncated_normal", f"prior.bound={bound}").prior)
    z = prior(N, 2, generator=seeded()).double()
    edge = 2 * math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi) / math.erf(bound / math.sqrt(2))
    variance = 1 - bound * edge
    assert 0.999 * bound < z.abs().max() <= bound
    assert float(z.mean()) == pytest.approx(0, abs=4 * math.sqrt(variance / (2 * N)))
    assert float(z.square().mean()) == pytest.approx(variance, rel=0.01)
    assert float(z.pow(4).mean()) == pytest.approx(3 * variance - bound**3 * edge, rel=0.02)
    assert abs(float((z[:, 0] * z[:, 1]).mean())) < 0.02 * variance  # each number by itself


def test_prior_truncated_normal_is_truncated_further_when_sampling():
    """A smaller bound cuts, as that of a normal; a larger one has nothing to cut."""
    prior = TruncatedNormal(2.0)
    assert torch.equal(
        prior.truncated(9, 5, 0.7, generator=seeded()), Normal().truncated(9, 5, 0.7, generator=seeded())
    )
    assert torch.equal(prior.truncated(9, 5, 3.0, generator=seeded()), prior(9, 5, generator=seeded()))


def test_uniform():
    assert furthest(Uniform()(N, 1, generator=seeded()), lambda z: (z + 1) / 2) < 1.95
    half = Uniform().truncated(N, 1, 0.5, generator=seeded())
    assert furthest(half, lambda z: z + 0.5) < 1.95
    assert half.abs().max() <= 0.5
    assert 1 - 1e-3 < Uniform().truncated(N, 1, 3.0, generator=seeded()).abs().max() <= 1  # there is no more to draw
    wide = Uniform(3.0)
    assert furthest(wide(N, 1, generator=seeded()), lambda z: (z + 3) / 6) < 1.95
    assert furthest(wide.truncated(N, 1, 2.0, generator=seeded()), lambda z: (z + 2) / 4) < 1.95
    assert 3 - 1e-2 < wide.truncated(N, 1, 4.0, generator=seeded()).abs().max() <= 3


@pytest.mark.parametrize("dim", [2, 3, 100])
def test_sphere(dim):
    """Radius sqrt(dim), no preferred direction; on the sphere in three dimensions each coordinate is uniform."""
    z = Sphere()(N // dim, dim, generator=seeded())
    assert torch.allclose(z.norm(dim=1), torch.tensor(math.sqrt(dim)), rtol=1e-5)
    assert torch.allclose(z.T @ z / len(z), torch.eye(dim), atol=0.15)
    if dim == 3:
        assert furthest(z[:, 0] / math.sqrt(3), lambda v: (v + 1) / 2) < 1.95


def test_sphere_has_no_tails():
    with pytest.raises(UsageError, match="leave truncation out"):
        Sphere().truncated(4, 2, 0.5)
