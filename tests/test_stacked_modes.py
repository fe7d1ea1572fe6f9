"""The modes of stacked MNIST, on samples whose answer is known; the digits are flat squares of ten greys."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gantool.game.images import to_float
from gantool.game.types import Images
from gantool.metrics.stacked_modes import StackedModes
from toys import refusal


class Greys:
    """Digit d is a square of grey 25 d; twice as many are 0 to 4 as 5 to 9."""

    names = tuple("0123456789")
    flip = False

    def load(self, split: str = "train") -> Images:
        labels = torch.arange(150) % 15 % 10
        return Images((25 * labels).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone(), labels, self.names)


STACKED = SimpleNamespace(digits=Greys(), shape=(3, 2, 2))


def measured(numbers: Tensor) -> dict[str, float]:
    """Of samples that read as these numbers, red first."""
    digits = torch.stack([numbers // 100, numbers // 10 % 10, numbers % 10], dim=1)
    images = to_float((25 * digits).to(torch.uint8)).view(-1, 3, 1, 1).expand(-1, 3, 2, 2)
    metric = StackedModes(samples=len(numbers))
    metric.check(STACKED, None)
    found = metric(SimpleNamespace(fakes=lambda n: images[:n]), STACKED)
    assert tuple(found) == metric.columns and metric.facts()["judge_accuracy"] == 1
    return found


def test_samples_like_the_data():
    """A low digit has the share 2/15, a high one 1/15: 000 has 8 samples where 999 has 1."""
    low = (torch.arange(1000)[:, None] // torch.tensor([100, 10, 1]) % 10 < 5).sum(dim=1)
    found = measured(torch.arange(1000).repeat_interleave(2**low))
    assert found == {"modes_covered": 1000, "modes_kl": pytest.approx(0, abs=1e-12)}


def test_colours_are_read_in_their_order():
    """KL of one number is -log of its share in the data: 2/15, 1/15 or both a digit."""
    for number, low in ((123, 3), (129, 2), (199, 1), (991, 1), (999, 0)):
        found = measured(torch.full((50,), number))
        assert found["modes_covered"] == 1
        assert found["modes_kl"] == pytest.approx(3 * math.log(15) - low * math.log(2), rel=1e-9)


def test_kl_by_hand():
    """Half of the samples 000, a quarter 001 and 999: log of 15^3 - 3/4 log 8 - 3/2 log 2."""
    found = measured(torch.tensor([0, 0, 1, 999]))
    assert found["modes_covered"] == 3
    assert found["modes_kl"] == pytest.approx(3 * math.log(15) - (0.75 * 3 + 1.5) * math.log(2), rel=1e-9)


def test_other_data_is_refused():
    assert "dataset=stacked_mnist" in refusal(StackedModes().check, SimpleNamespace(names=("a", "b")), None)
