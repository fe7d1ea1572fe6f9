"""MS-SSIM against an independent implementation, and on generators whose variety is known."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim
from pytorch_msssim import ssim as reference_ssim
from torch import Tensor

from gantool.datasets.digits import Digits
from gantool.game.images import to_float
from gantool.metrics.diversity import Diversity, different, ms_ssim, scales, ssim
from toys import refusal

DIGITS = Digits()
DATA = DIGITS.load("train")


def pair(side: int, channels: int = 1, strength: float = 0.2) -> tuple[Tensor, Tensor]:
    """Smooth images from 0 to 1, and the same with noise."""
    generator = torch.Generator().manual_seed(side)
    small = torch.rand(3, channels, 6, 6, generator=generator)
    image = torch.nn.functional.interpolate(small, (side, side), mode="bilinear")
    return image, (image + strength * torch.randn(image.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (11, 1), (64, 3)])
def test_one_scale_equals_another_implementation(side, channels):
    x, y = pair(side, channels)
    expected = reference_ssim(x, y, data_range=1, size_average=False)
    assert torch.allclose(ssim(x, y)[0].mean(dim=1), expected, atol=1e-5)


def test_a_smaller_image_has_a_smaller_window():
    """8 x 8: 7 pixels, the spread in proportion."""
    x, y = pair(8)
    expected = reference_ssim(x, y, data_range=1, size_average=False, win_size=7, win_sigma=1.5 * 7 / 11)
    assert torch.allclose(ms_ssim(x, y), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.05, 0.5])
def test_five_scales_equal_another_implementation(channels, strength):
    """But for the exponents, which sum to 1 in the paper, and to 1.0001 as it rounds them and others use them."""
    x, y = pair(192, channels, strength)
    found = ms_ssim(x, y)
    assert torch.allclose(found**1.0001, reference_ms_ssim(x, y, data_range=1, size_average=False), atol=1e-5)


def test_fewer_scales_where_the_image_is_small():
    """Two at 28 pixels: contrast^a similarity^(1-a), a = 0.0448 / (0.0448 + 0.2856), by the other implementation."""
    assert [scales(side, side) for side in (4, 8, 21, 22, 28, 32, 64, 128, 175, 176, 512)] == [
        1, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    x, y = pair(28)
    small = reference_ssim(*(torch.nn.functional.avg_pool2d(each, 2) for each in (x, y)), 1, size_average=False)
    share = 0.0448 / (0.0448 + 0.2856)
    assert torch.allclose(ms_ssim(x, y), ssim(x, y)[1].mean(dim=1) ** share * small ** (1 - share), atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 8, 28, 180])
def test_equal_images_are_alike_and_opposite_ones_are_not(side):
    x, y = pair(side)
    assert torch.allclose(ms_ssim(x, x), torch.ones(3), atol=1e-5)
    assert (ms_ssim(x, y) < 1).all() or side == 1
    found = ms_ssim(x, 1 - x)
    assert found.isfinite().all() and (found < 0.5).all() or side <= 2


def measured(fakes, conditional: bool, pairs: int = 1000, dataset=DIGITS) -> dict[str, float]:
    trained = SimpleNamespace(fakes=fakes, device=torch.device("cpu"), report=lambda *told: None)
    metric = Diversity(conditional, pairs)
    metric.check(dataset, None)
    return metric(trained, dataset)


def drawn(n: int, label: int | None, seed: int = 0) -> Tensor:
    pool = DATA.pixels if label is None else DATA.pixels[DATA.labels == label]
    return to_float(pool[torch.randint(len(pool), (n,), generator=torch.Generator().manual_seed(seed))])


def test_one_image_of_each_class_is_no_diversity():
    found = measured(lambda n, label: drawn(1, label).expand(n, -1, -1, -1), True)
    assert found["ms_ssim"] == pytest.approx(1, abs=1e-5)
    assert found["ms_ssim_data"] < 0.6


@pytest.mark.parametrize("conditional", [True, False])
def test_the_data_is_as_diverse_as_the_data(conditional):
    found = measured(drawn, conditional, 2000)
    assert found["ms_ssim"] == pytest.approx(found["ms_ssim_data"], abs=0.02)


def test_within_a_class_images_are_more_alike():
    within, among = (measured(drawn, conditional)["ms_ssim_data"] for conditional in (True, False))
    assert within > among + 0.1


def test_a_class_without_examples_is_left_out():
    """As of a folder whose class has images in test/ only: nobody asks G for it."""
    more = SimpleNamespace(names=("none", *DIGITS.names), shape=DIGITS.shape)
    more.load = lambda split: DATA._replace(labels=DATA.labels + 1, names=more.names)
    assert measured(lambda n, label: drawn(n, label - 1), True, dataset=more) == measured(drawn, True)


def test_noise_is_more_diverse():
    found = measured(lambda n, label: 2 * torch.rand(n, 1, 8, 8) - 1, False)
    assert found["ms_ssim"] < found["ms_ssim_data"]


def test_an_example_is_not_compared_with_itself():
    first, second = different(3, 600, torch.Generator().manual_seed(0))
    assert (first != second).all()
    counts = torch.bincount(3 * first + second, minlength=9).view(3, 3)
    assert (counts.diagonal() == 0).all() and counts.sum() == 600 and counts[~torch.eye(3).bool()].min() > 70
    assert torch.equal(*different(1, 5, torch.Generator()))  # where there is but one


def test_points_are_refused():
    assert "compares images" in refusal(Diversity(False).check, SimpleNamespace(shape=(2,)), None)
