"""Modes covered, on samples whose answer is known."""

import math
from types import SimpleNamespace

import pytest
import torch

from gantool.errors import UsageError
from gantool.metrics.modes import Modes

K, STD = 8, 0.02
ANGLES = 2 * math.pi * torch.arange(K) / K
RING = SimpleNamespace(centers=2 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1), std=STD)


def measured(samples: torch.Tensor, **settings) -> dict[str, float]:
    return Modes(samples=len(samples), **settings)(SimpleNamespace(fakes=lambda n: samples[:n]), RING)


def around(mode: torch.Tensor, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(len(mode), 2, generator=torch.Generator().manual_seed(seed))
    return RING.centers[mode] + STD * noise


def test_perfect_samples_cover_all_modes():
    """Within three standard deviations lie 1 - exp(-9/2) = 0.9889 of a Gaussian in the plane; every mode as often."""
    found = measured(around(torch.arange(40_000) % K))
    assert found["modes_covered"] == K
    assert found["modes_high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert found["modes_kl"] == pytest.approx(0, abs=1e-3)


def test_collapse_to_one_mode():
    found = measured(around(torch.full((5000,), 3)))
    assert found["modes_covered"] == 1
    assert found["modes_kl"] == pytest.approx(math.log(K), rel=1e-6)


def test_kl_by_hand():
    """Half of the samples in one mode, a quarter in each of two: log 8 - entropy = log 8 - 1.5 log 2."""
    found = measured(RING.centers[torch.tensor([0, 0, 1, 2])])
    assert found["modes_kl"] == pytest.approx(math.log(8) - 1.5 * math.log(2), rel=1e-6)
    assert (found["modes_covered"], found["modes_high_quality"]) == (3, 1)


def test_samples_off_the_modes_have_no_quality():
    found = measured(torch.zeros(1000, 2))
    assert (found["modes_covered"], found["modes_high_quality"], found["modes_kl"]) == (0, 0, math.inf)


@pytest.mark.parametrize("within", [1.0, 3.0])
def test_quality_ends_at_so_many_standard_deviations(within):
    """By Euclidean distance: a sample just inside the circle counts, one just outside does not, in any direction."""
    direction = torch.tensor([0.6, 0.8]).double()
    for radius, good in ((within - 0.01, 1), (within + 0.01, 0)):
        sample = RING.centers[2:3].double() + radius * STD * direction
        assert measured(sample, within=within)["modes_high_quality"] == good


def test_mode_is_covered_by_so_many_samples():
    samples = RING.centers[torch.tensor([0] * 20 + [1] * 19)]
    assert measured(samples, least=20)["modes_covered"] == 1
    assert measured(samples)["modes_covered"] == 2


def test_asks_for_as_many_samples_as_it_was_told():
    asked: list[int] = []
    fakes = lambda n: asked.append(n) or RING.centers[torch.zeros(n, dtype=torch.long)]  # noqa: E731
    Modes(samples=123)(SimpleNamespace(fakes=fakes), RING)
    assert sum(asked) == 123


def test_data_without_known_modes_is_refused():
    Modes().check(RING, None)
    with pytest.raises(UsageError, match="drop it for this dataset"):
        Modes().check(SimpleNamespace(shape=(2,), names=()), None)
