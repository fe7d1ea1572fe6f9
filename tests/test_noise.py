"""Numbers drawn like a tensor lie in memory as it does, and are as random."""

import pytest
import torch

from gantool.game.noise import drawn_like


@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_order_in_memory(draw, dtype):
    image = torch.zeros(5, 3, 4, 6, dtype=dtype)
    for x in (image, image.contiguous(memory_format=torch.channels_last), image.mT, image[:, 1:, ::2], image[0, 0, 0]):
        found = drawn_like(draw, x)
        assert (found.shape, found.dtype) == (x.shape, x.dtype)
        assert found.stride() == torch.empty_like(x).stride()
        torch.manual_seed(0)
        first = drawn_like(draw, x)
        assert not torch.equal(first, drawn_like(draw, x))
        torch.manual_seed(0)
        assert torch.equal(first, drawn_like(draw, x))


@pytest.mark.parametrize(("draw", "mean", "std"), [(torch.randn, 0, 1), (torch.rand, 0.5, 12**-0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_distribution(draw, mean, std, dtype):
    """Mean and standard deviation of each channel within five standard errors, and channels do not go together."""
    torch.manual_seed(0)
    x = torch.zeros(100, 4, 50, 50, dtype=dtype).contiguous(memory_format=torch.channels_last)
    channels = drawn_like(draw, x).transpose(0, 1).flatten(1).double()
    error = std / channels.shape[1] ** 0.5
    assert (channels.mean(1) - mean).abs().max() < 5 * error
    assert (channels.std(1) - std).abs().max() < 5 * error
    assert (torch.corrcoef(channels) - torch.eye(4, dtype=torch.float64)).abs().max() < 0.01
    assert len(channels.unique()) > 100
    assert draw is torch.randn or (channels.min() >= 0 and channels.max() < 1)
