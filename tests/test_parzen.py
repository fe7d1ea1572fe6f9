"""Log-likelihood by Parzen windows, against scikit-learn and closed forms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor

from gantool.datasets.digits import Digits
from gantool.game import distances
from gantool.game.images import to_float
from gantool.game.types import Images
from gantool.metrics.parzen import Parzen, log_likelihood
from toys import refusal

CPU = torch.device("cpu")


def drawing(samples: Tensor) -> SimpleNamespace:
    return SimpleNamespace(fakes=lambda n: samples[:n], device=CPU, report=lambda *told: None)


def data(held_out: int, **splits: Tensor) -> SimpleNamespace:
    load = lambda split: Images(splits[split], torch.full((len(splits[split]),), -1))  # noqa: E731
    return SimpleNamespace(load=load, held_out=held_out)


def normal(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def scores(samples: np.ndarray, sigma: float, examples: np.ndarray) -> np.ndarray:
    """One leaf: a tree of several is wrong by hundreds of nats far from all samples, whatever its tolerances."""
    return KernelDensity(bandwidth=sigma, leaf_size=len(samples)).fit(samples).score_samples(examples)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_equals_scikit_learns_kernel_density(shift):
    """Also far from 0, where |x|^2 + |y|^2 - 2 <x, y> has lost its digits unless the data is centred."""
    samples, examples = (normal(n, 5, n).double() + shift for n in (300, 40))
    sigmas = [0.05, 0.4, 3.0]
    found = log_likelihood(samples, examples, sigmas)
    for row, sigma in zip(found, sigmas, strict=True):
        assert np.allclose(row.numpy(), scores(samples.numpy(), sigma, examples.numpy()), rtol=1e-7, atol=1e-6)


def test_far_examples_do_not_underflow():
    """One sample at 0: log N(x; 0, s^2) = -x^2 / 2 s^2 - log(s sqrt(2 pi)), here -5e11 and so on."""
    found = log_likelihood(torch.zeros(1, 1).double(), torch.tensor([[1000.0]]).double(), [0.001])
    assert float(found) == pytest.approx(-5e11 - math.log(0.001 * math.sqrt(2 * math.pi)), rel=1e-12)


def test_digits_equal_scikit_learn_in_the_end():
    """The whole metric: pixels from 0 to 1, the best width on the validation examples, mean and standard error."""
    digits = Digits()
    train, test = digits.load("train").pixels, digits.load("test").pixels
    found = Parzen(samples=700, validation=20, low=0.05, high=1.0, sigmas=7)(drawing(to_float(train)), digits)
    samples, test = ((pixels.flatten(1).double() / 255).numpy() for pixels in (train[:700], test))
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0)).numpy()
    best = max(np.geomspace(0.05, 1.0, 7), key=lambda sigma: scores(samples, sigma, test[order[:20]]).mean())
    expected = scores(samples, best, test[order[20:]])
    assert found["parzen_sigma"] == pytest.approx(best, rel=1e-12)
    assert found["parzen"] == pytest.approx(expected.mean(), rel=1e-6)  # samples are float32 on their way
    assert found["parzen_se"] == pytest.approx(expected.std() / math.sqrt(160), rel=1e-5)


def test_points_from_a_normal_distribution():
    """Windows of width s over N(0, 1) tend to N(0, 1 + s^2), under which E log = -(log 2 pi (1+s^2) + 1 / (1+s^2)) / 2.

    Of finitely many samples it is a little less: the mean of the log is below the log of the mean.
    """
    samples, examples = normal(5000, 1, 0).double(), normal(5000, 1, 1).double()
    expected = -(math.log(2 * math.pi * 1.25) + 1 / 1.25) / 2
    assert float(log_likelihood(samples, examples, [0.5]).mean()) == pytest.approx(expected, abs=0.03)


def test_the_width_is_that_of_the_validation_split_and_not_of_the_test_split():
    """Samples all at 0: the likeliest width is the root mean square of what it is chosen by, here 0.3 and not 0.1."""
    points = data(50, validation=torch.full((50, 1), 0.3), test=torch.full((20, 1), 0.1))
    metric = Parzen(samples=5, validation=50, low=0.01, high=1.0, sigmas=201)
    found = metric(drawing(torch.zeros(5, 1)), points)
    assert found["parzen_sigma"] == pytest.approx(0.3, rel=0.012)  # half a step of the grid, 10^(1/200)
    assert found["parzen_se"] == pytest.approx(0, abs=1e-12)
    assert metric.facts()["reference_size"] == 20


def test_a_generator_that_copies_gets_the_width_of_new_examples():
    """Copies of 600 training points of N(0, 1) in 4 dimensions need windows as wide as 600 new points do, about

    0.5 by Silverman's rule, (4 / (d + 2) / n)^(1 / (d + 4)): no training point is in the validation split.
    """
    points = data(0, train=normal(600, 4, 0), test=normal(1200, 4, 1))
    metric = Parzen(samples=600)
    copies, new = (metric(drawing(normal(600, 4, seed)), points) for seed in (0, 2))
    silverman = (4 / 6 / 600) ** (1 / 8)
    for found in (copies, new):
        assert found["parzen_sigma"] == pytest.approx(silverman, rel=0.5)
    assert copies["parzen"] == pytest.approx(new["parzen"], abs=0.15)
    assert {"validation": 200, "reference_size": 1000}.items() <= metric.facts().items()


def test_the_default_grid_holds_the_one_of_2014():
    """numpy.logspace(-1, 0, 10) in the released parzen_ll.py."""
    metric = Parzen()
    grid = np.geomspace(metric.low, metric.high, metric.sigmas)
    assert np.allclose(grid[-10:], np.logspace(-1, 0, 10), rtol=1e-12)
    assert (metric.samples, metric.validation) == (10_000, 1000)


def test_pieces_do_not_change_it(monkeypatch):
    samples, examples = normal(90, 3, 0).double(), normal(31, 3, 1).double()
    whole = log_likelihood(samples, examples, [0.2, 1.0])
    sizes: list[int] = []
    monkeypatch.setattr(distances, "ROOM", 7 * 90)
    split = log_likelihood(samples, examples, [0.2, 1.0], lambda what, done, total: sizes.append(done))
    assert sizes == [7, 14, 21, 28, 31]
    assert torch.allclose(whole, split, rtol=1e-12)


def test_the_facts_and_a_bad_grid():
    digits = Digits()
    metric = Parzen(samples=10)
    metric(drawing(to_float(digits.load("train").pixels)), digits)
    assert {"samples": 10, "reference": "test", "reference_size": 150}.items() <= metric.facts().items()
    assert "metric.parzen.low=2 is above" in refusal(Parzen(low=2, high=1).check, digits, None)
    assert "two test examples" in refusal(Parzen().check, data(0, test=torch.zeros(1, 1)), None)
