"""Augmentations of what D sees: each operation by hand, in the ranges of its paper, and G's gradient through it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantool.game.game import Game
from gantool.objectives.least_squares import LeastSquares
from gantool.objectives.non_saturating import NonSaturating
from gantool.tricks import adaptive_augment, diff_augment
from gantool.tricks.adaptive_augment import AdaptiveAugment, hue_rotated, places, recolored, resampled
from gantool.tricks.diff_augment import DiffAugment, cut_out, shifted
from gantool.tricks.diff_augment import recolored as zhao_recolored
from toys import Fixed, Linear, Scalar, Shown, composed_game, pictures, players, points, refusal

OFF = {"color": False, "translation": 0.0, "cutout": 0.0}
OPERATIONS = {
    "color": DiffAugment(True, 0.0, 0.0),
    "translation": DiffAugment(False, 0.5, 0.0),
    "cutout": DiffAugment(False, 0.0, 0.5),
    "all": DiffAugment(True, 0.5, 0.5),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def numbered(n: int, height: int, width: int, channels: int = 1) -> Tensor:
    """n times the same image, whose pixels are 1, 2, 3, ..."""
    image = torch.arange(1.0, channels * height * width + 1).view(1, channels, height, width)
    return image.expand(n, -1, -1, -1)


def kinds(images: Tensor) -> dict[tuple[float, ...], float]:
    """Each image that there is, and its share."""
    found, counts = images.flatten(1).unique(dim=0, return_counts=True)
    return {tuple(image.tolist()): int(count) / len(images) for image, count in zip(found, counts, strict=True)}


def again(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same random numbers at every call, so that it is a function."""

    def same(image: Tensor) -> Tensor:
        torch.manual_seed(1)
        return operation(image)

    return same


# ---------------------------------------------------------------- differentiable augmentation


def test_shifts_are_by_whole_pixels_and_bring_zeros():
    """2 x 3 pixels, up to half of the sides: 1 row and (3 / 2, rounded up) 2 columns either way, all as likely."""
    found = kinds(shifted(numbered(30_000, 2, 3), 0.5))
    around = F.pad(numbered(1, 2, 3), (2, 2, 1, 1))  # columns, rows
    expected = {tuple(around[..., i : i + 2, j : j + 3].flatten().tolist()) for i in range(3) for j in range(5)}
    assert set(found) == expected
    assert list(found.values()) == pytest.approx([1 / 15] * 15, abs=0.01)


@pytest.mark.parametrize(
    "side, share, reach", [(8, 0.125, 1), (20, 0.125, 3), (28, 0.125, 4), (4, 0.125, 1), (3, 0.125, 0)]
)
def test_reach_of_a_shift(side, share, reach):
    """int(side * share + 0.5), as in the released code: 2.5 is rounded up."""
    image = torch.zeros(500, 1, side, side)
    image[:, :, side // 2] = 1  # a row
    rows = shifted(image, share).sum(dim=3)[:, 0].argmax(dim=1)
    assert (int(rows.min()), int(rows.max())) == (side // 2 - reach, side // 2 + reach)


@pytest.mark.parametrize("side, visible", [(4, {1: 0.4, 2: 0.6}), (5, {2: 0.4, 3: 0.6})])
def test_the_cut_out_square_may_hang_over(side, visible):
    """Half of 4 is 2, whose place is -1 to 3; of 5 it is (2.5, rounded up) 3, whose place is -1 to 3, all as likely."""
    holes = 1 - cut_out(torch.ones(20_000, 1, side, side), 0.5)[:, 0]
    rows, columns = holes.amax(dim=2), holes.amax(dim=1)
    assert torch.equal(holes, rows[:, :, None] * columns[:, None, :])  # a rectangle
    for there in (rows, columns):
        sizes = there.sum(dim=1)
        assert (there.diff(dim=1).abs().sum(dim=1) <= 2).all()  # in one piece
        assert {int(size): float((sizes == size).float().mean()) for size in sizes.unique()} == pytest.approx(
            visible, abs=0.02
        )
    assert abs(float(torch.corrcoef(torch.stack([rows.sum(dim=1), columns.sum(dim=1)]))[0, 1])) < 0.03


def test_colours_by_hand(monkeypatch):
    """A quarter into each range: brightness - 0.25, saturation 0.5, contrast 0.75. Pixels (1, 0), (3, 0) of 2 channels.

    Brightness: (0.75, -0.25), (2.75, -0.25). Saturation about 0.25 and 1.25: (0.5, 0), (2, 0.5). Contrast about 0.75.
    """
    monkeypatch.setattr(diff_augment, "_uniform", lambda image, low, high: low + 0.25 * (high - low))
    image = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]])
    expected = torch.tensor([[[[0.5625, 1.6875]], [[0.1875, 0.5625]]]])
    assert torch.allclose(zhao_recolored(image), expected)


def test_colours_in_their_ranges():
    """Grey: brightness moves the mean by U(-0.5, 0.5), contrast scales differences by U(0.5, 1.5).

    In colour, channels differ by U(0, 2) U(0.5, 1.5) of before; the variance of the product is 4/3 * 13/12 - 1.
    """
    n = 50_000
    grey = zhao_recolored(torch.tensor([0.2, 0.8]).view(1, 1, 1, 2).expand(n, -1, -1, -1))
    offset, scale = grey.mean(dim=3).flatten() - 0.5, (grey[..., 1] - grey[..., 0]).flatten() / 0.6
    for value, low, high in ((offset, -0.5, 0.5), (scale, 0.5, 1.5)):
        assert low - 1e-5 <= value.min() < low + 1e-3 and high - 1e-3 < value.max() <= high + 1e-5
        assert float(value.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.01)
    colour = zhao_recolored(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(n, -1, -1, -1))
    apart = (colour[:, 1] - colour[:, 0]).flatten()
    assert float(apart.mean()) == pytest.approx(1, abs=0.01)
    assert float(apart.var()) == pytest.approx(4 / 3 * 13 / 12 - 1, rel=0.02)
    assert apart.max() < 3


def test_all_off_is_nothing():
    image = torch.randn(3, 2, 4, 6)
    assert torch.equal(DiffAugment(**OFF).view(image), image)
    moved = {name: not torch.equal(trick.view(image), image) for name, trick in OPERATIONS.items()}
    assert all(moved.values()), moved


def test_without_colour_pixels_keep_their_values():
    image = numbered(50, 6, 6)
    assert set(DiffAugment(color=False).view(image).unique().tolist()) <= {0.0, *image.unique().tolist()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_can_be_differentiated_twice(name):
    image = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    operation = again(OPERATIONS[name].view)
    assert torch.autograd.gradcheck(operation, image)
    assert torch.autograd.gradgradcheck(lambda x: operation(x).pow(3), image)


def test_real_and_fake_are_augmented_alike_in_both_turns():
    """Reals and fakes are the same image here: what D sees of them has one distribution, and draws of its own."""
    n, image = 4000, torch.full((4000, 1, 8, 8), 0.3)

    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(()))

        def forward(self, latent: Tensor, label: Tensor) -> Tensor:
            return image + self.offset

    objective = Shown()
    game = Game(Same(), Linear(torch.ones(64)), objective, {"diff_augment": DiffAugment()}, Fixed(image))
    game.d_loss()
    g_loss, _ = game.g_loss()
    seen = [turn.detach() for turn in (objective.d_turn.real, objective.d_turn.fake, objective.g_turn.fake)]
    holes = [float((one == 0).float().mean()) for one in seen]
    assert holes == pytest.approx([holes[0]] * 3, rel=0.05) and holes[0] > 0.2
    for one in seen:
        bright = one.flatten(1).amax(dim=1) - 0.3
        assert float(bright[bright > -0.2].mean()) == pytest.approx(0.15, abs=0.02)  # U(-0.5, 0.5) above -0.2
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    (slope,) = torch.autograd.grad(g_loss, game.nets["generator"].offset)  # D's weights are 1: it counts what is left
    assert float(slope) == pytest.approx(float((seen[2] != 0).float().sum()) / n, rel=1e-4)


@pytest.mark.parametrize("trick", ["diff_augment", "adaptive_augment"])
def test_points_are_refused(compose, trick):
    sentence = refusal(composed_game, compose, f"trick=[{trick}]", images=points(10))
    assert f"trick.{trick} is for images, and this dataset holds points: drop it" in sentence


# ---------------------------------------------------------------- adaptive augmentation: p


def watched(*signs: float, target: float = 0.6, p: float = 0.0, times: int = 1) -> float:
    trick = AdaptiveAugment(target, speed=100)
    trick.rewrite(nn.ModuleDict(), Fixed(torch.zeros(5, 1)))
    trick.p.fill_(p)
    for _ in range(times):
        trick.watch(torch.tensor(signs))
    return float(trick.p)


def test_p_follows_how_sure_d_is():
    """r = E sign: batches of 5 and a speed of 100 images move p by 1/20, up where r is above 0.6 and down else."""
    assert watched(3.0, 0.1, 2.0, 9.0, 0.1) == pytest.approx(0.05)  # r = 1
    assert watched(0.1, 0.1, 0.1, 0.1, 0.1, times=7) == pytest.approx(0.35)
    assert watched(9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, -0.1, -0.1, p=0.5) == pytest.approx(0.45)  # r = 5/9
    assert watched(9.0, 9.0, 9.0, -0.1, p=0.5, target=0.4) == pytest.approx(0.55)  # r = 1/2
    assert watched(-1.0, p=0.03) == 0.0
    assert watched(1.0, p=0.97) == 1.0
    assert watched(1.0, times=20) == pytest.approx(1.0)


@pytest.mark.parametrize("objective, value, rises", [
    (NonSaturating(), 0.3, True), (NonSaturating(), -0.3, False),
    (LeastSquares(), 0.7, True), (LeastSquares(), 0.3, False),
])  # fmt: skip
def test_d_says_real_above_the_threshold_of_its_objective(objective, value, rises):
    """D's target is 1 for reals and 0 for fakes in least squares: 0.3 is no 'real', whatever its sign."""
    trick = AdaptiveAugment(speed=100)
    real = torch.ones(5, 1, 1, 1)
    game = Game(Scalar(2.0), Linear(torch.tensor([value])), objective, {"adaptive_augment": trick}, Fixed(real))
    trick.p.fill_(0.0)
    game.nets["generator"].forward = lambda latent, label: real + 0 * game.nets["generator"].x
    game.d_loss()
    assert float(trick.p) == pytest.approx(0.05 if rises else 0.0)
    game.g_loss()
    assert float(trick.p) == pytest.approx(0.05 if rises else 0.0)  # G's turn tells nothing of reals


@pytest.mark.parametrize("lr, learns", [(0.01, True), (0.0, False)])
def test_p_rises_where_d_knows_its_few_reals_by_heart(compose, lr, learns):
    game = composed_game(compose, "trick=[adaptive_augment]", "trick.adaptive_augment.speed=200", images=pictures(4))
    d, _ = players(game, lr, torch.optim.Adam)
    game.source.reserve(60)
    game.source.prepare(60)
    for _ in range(60):
        loss, _ = game.d_loss()
        d.apply(d.grads(loss))
    assert (float(game.tricks["adaptive_augment"].p) > 0.1) == learns


@pytest.mark.parametrize("objective", ["wgan_gp", "relativistic", "mmd_gan"])
def test_objectives_whose_d_draws_no_line_are_refused(compose, objective):
    sentence = refusal(composed_game, compose, f"objective={objective}", "trick=[adaptive_augment]")
    assert "trick.adaptive_augment asks" in sentence


def test_p_is_saved_and_restored(compose):
    one, other = (composed_game(compose, "trick=[adaptive_augment]") for _ in range(2))
    one.tricks["adaptive_augment"].p.fill_(0.3)
    other.restore(one.state_dict())
    assert float(other.tricks["adaptive_augment"].p) == pytest.approx(0.3)


# ---------------------------------------------------------------- adaptive augmentation: images


P = {name: torch.tensor(value) for name, value in (("never", 0.0), ("always", 1.0), ("half", 0.5))}
STRETCH, SCALE, SHIFT, WHOLE, QUARTER, MIRROR = range(6)


def only(monkeypatch, *chosen: int, of: int = 6) -> None:
    """Every image gets these transformations of `places` (of=6) or `recolored` (of=5), and no others."""

    def choose(n: int, image: Tensor, p: Tensor) -> Tensor:
        picked = torch.zeros(n, len(image), 1, 1)
        picked[list(chosen if n == of else [])] = 1
        return picked

    monkeypatch.setattr(adaptive_augment, "_chosen", choose)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 7), (2, 5, 6), (3, 28, 28)], ids=str)
def test_at_p_0_an_image_stays_as_it_is_bit_for_bit(shape):
    image = torch.randn(20, *shape)
    assert torch.equal(AdaptiveAugment().view(image), image)


@pytest.mark.parametrize("height, width", [(5, 5), (4, 7)])
def test_reading_is_that_of_grid_sample_with_reflection(height, width):
    """Its coordinates go from -1 to 1 between the outer edges; places far out are reflected more than once."""
    image = torch.randn(6, 2, height, width, dtype=torch.float64)
    x, y = (20 * torch.randn(6, height, width, dtype=torch.float64) for _ in range(2))
    grid = torch.stack([2 * x / width, 2 * y / height], dim=3)
    expected = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    assert torch.allclose(resampled(image, x, y), expected, atol=1e-9)


def warped(image: Tensor) -> Tensor:
    return resampled(image, *places(image, P["always"]))


@pytest.mark.parametrize("size", [8, 7])
def test_quarter_turns_and_mirrors_are_exact(monkeypatch, size):
    image = numbered(400, size, size, 2)
    for chosen, expected in (
        (QUARTER, {k: torch.rot90(image[0], k, (1, 2)) for k in range(4)}),
        (MIRROR, {k: image[0].flip(2) if k else image[0] for k in range(2)}),
    ):
        only(monkeypatch, chosen)
        found = kinds(warped(image))
        assert set(found) == {tuple(each.flatten().tolist()) for each in expected.values()}
        assert list(found.values()) == pytest.approx([1 / len(expected)] * len(expected), abs=0.1)


def test_shifts_are_whole_and_bring_the_reflection(monkeypatch):
    """Up to an eighth of 16: 2 rows and columns either way, read beyond the border as 'symmetric' padding."""
    only(monkeypatch, WHOLE)
    around = np.pad(numbered(1, 16, 16)[0, 0].numpy(), 2, mode="symmetric")
    expected = {tuple(around[i : i + 16, j : j + 16].ravel().tolist()) for i in range(5) for j in range(5)}
    assert set(kinds(warped(numbered(2000, 16, 16)))) == expected


def still(n: int = 20_000) -> tuple[Tensor, Tensor, Tensor]:
    """Images of 8 x 8, and where each pixel is read if nothing is done."""
    image, place = torch.zeros(n, 1, 8, 8), torch.arange(8) - 3.5
    return image, place.expand(8, 8), place[:, None].expand(8, 8)


def test_scale_stretch_and_shift_have_their_deviations(monkeypatch):
    """log2 of scale and of stretch: 0.2; a shift is 0.125 of the side (Karras et al. 2020b, appendix B)."""
    image, x, y = still()
    for chosen, x_exponent, y_exponent in ((SCALE, 1, 1), (STRETCH, 1, -1)):
        only(monkeypatch, chosen)
        to_x, to_y = places(image, P["always"])
        factor = (x / to_x)[:, 0, 0]
        assert float(factor.log2().std()) == pytest.approx(0.2, rel=0.03)
        assert float(factor.log2().mean()) == pytest.approx(0, abs=0.01)
        assert torch.allclose(to_x * factor[:, None, None] ** x_exponent, x.expand_as(to_x), atol=1e-4)
        assert torch.allclose(to_y * factor[:, None, None] ** y_exponent, y.expand_as(to_y), atol=1e-4)
    only(monkeypatch, SHIFT)
    for to, start in zip(places(image, P["always"]), (x, y), strict=True):
        assert float((to - start).std()) == pytest.approx(0.125 * 8, rel=0.03)
        assert (to - start).flatten(1).std(dim=1).max() < 1e-4  # all pixels of an image alike


def test_rotations_are_rigid_uniform_and_as_likely_as_p(monkeypatch):
    """Two are drawn, each with 1 - sqrt(1 - p), so that one or both come with p."""
    image, x, y = still()
    original = adaptive_augment._chosen
    monkeypatch.setattr(adaptive_augment, "_chosen", lambda n, image, p: original(n, image, p * (n == 2)))
    to_x, to_y = places(image, P["half"])
    assert torch.allclose(to_x**2 + to_y**2, (x**2 + y**2).expand_as(to_x), atol=1e-3)
    angle = torch.atan2(to_y, to_x)[:, 0, 0] - torch.atan2(y, x)[0, 0]
    turned = angle.abs() > 1e-6
    assert float(turned.float().mean()) == pytest.approx(0.5, abs=0.015)
    direction = torch.polar(torch.ones(int(turned.sum())), angle[turned])
    assert direction.mean().abs() < 0.03 and direction.square().mean().abs() < 0.03  # as of uniform angles


@pytest.mark.parametrize("p", ["never", "half", "always"])
def test_each_is_applied_with_probability_p(p):
    share = adaptive_augment._chosen(4, torch.zeros(20_000, 1, 2, 2), P[p]).flatten(1)
    assert share.mean(dim=1).tolist() == pytest.approx([float(P[p])] * 4, abs=0.015)
    assert (torch.corrcoef(share) - torch.eye(4)).abs().max() < 0.03 if p == "half" else True


# ---------------------------------------------------------------- adaptive augmentation: colours


BRIGHTNESS, CONTRAST, SATURATION, LUMA, HUE = range(5)


def coloured(monkeypatch, image: Tensor, *chosen: int, n: int = 20_000) -> Tensor:
    """(C,) a colour -> (n, C) what becomes of it."""
    only(monkeypatch, *chosen, of=5)
    return recolored(image.view(1, -1, 1, 1).expand(n, -1, 2, 2), P["always"])[:, :, 0, 0]


def test_brightness_and_contrast_have_their_deviations(monkeypatch):
    colour = torch.tensor([0.5, -0.25, 0.1])
    moved = coloured(monkeypatch, colour, BRIGHTNESS) - colour
    assert float(moved.std()) == pytest.approx(0.2, rel=0.02)
    assert torch.allclose(moved, moved[:, :1].expand(-1, 3), atol=1e-6)  # all channels alike
    factor = coloured(monkeypatch, colour, CONTRAST) / colour
    assert float(factor.log2().std()) == pytest.approx(0.5, rel=0.02)
    assert torch.allclose(factor, factor[:, :1].expand(-1, 3), rtol=1e-4)


def test_luma_is_flipped_and_nothing_else(monkeypatch):
    """(0.5, -0.2, 0.3) has the luma 0.2: flipped, every channel is 0.4 less. Grey changes its sign."""
    found = kinds(coloured(monkeypatch, torch.tensor([0.5, -0.25, 0.5]), LUMA))
    assert set(found) == {(0.5, -0.25, 0.5), (0.0, -0.75, 0.0)}
    assert list(found.values()) == pytest.approx([0.5, 0.5], abs=0.02)
    assert set(kinds(coloured(monkeypatch, torch.tensor([0.5]), LUMA))) == {(0.5,), (-0.5,)}


def test_saturation_keeps_the_luma_and_scales_the_rest(monkeypatch):
    """log2 of the factor has deviation 1. Grey has no saturation."""
    colour = torch.tensor([0.6, 0.1, -0.1])
    found = coloured(monkeypatch, colour, SATURATION)
    assert torch.allclose(found.mean(dim=1), torch.full((20_000,), 0.2), atol=1e-5)
    factor = (found - 0.2) / (colour - 0.2)
    assert torch.allclose(factor, factor[:, :1].expand(-1, 3), rtol=1e-3)
    assert float(factor.log2().std()) == pytest.approx(1, rel=0.02)
    assert set(kinds(coloured(monkeypatch, torch.tensor([0.5]), SATURATION, HUE))) == {(0.5,)}


def test_hues_turn_about_grey(monkeypatch):
    """A third of a turn: red to green to blue. Any angle keeps the luma and the distance from grey."""
    red, green, blue = (colour.view(1, 3, 1, 1) for colour in torch.eye(3))
    third = torch.full((1, 1, 1, 1), 2 * math.pi / 3)
    assert torch.allclose(hue_rotated(red, third), green, atol=1e-6)
    assert torch.allclose(hue_rotated(green, third), blue, atol=1e-6)
    colour = torch.tensor([0.6, 0.1, -0.1])
    found = coloured(monkeypatch, colour, HUE)
    assert torch.allclose(found.mean(dim=1), torch.full((20_000,), 0.2), atol=1e-5)
    assert torch.allclose((found - 0.2).norm(dim=1), (colour - 0.2).norm().expand(20_000), atol=1e-5)
    assert (found.mean(dim=0) - 0.2).abs().max() < 0.01  # every direction as likely


def test_it_can_be_differentiated_twice():
    trick = AdaptiveAugment()
    trick.p.fill_(1.0)
    image = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    operation = again(trick.view)
    assert torch.autograd.gradcheck(operation, image)
    assert torch.autograd.gradgradcheck(lambda x: operation(x).pow(3), image)
