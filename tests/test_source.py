"""Batches: every example once an epoch, in an order that the seed decides; and samples that leave no trace."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gantool.architectures import dcgan
from gantool.engine.deploy import Deployed, evaluating
from gantool.engine.source import DeviceSource
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.types import Images
from gantool.objectives.non_saturating import NonSaturating
from gantool.priors.normal import Normal
from gantool.tricks.ema import EMA
from gantool.tricks.spectral_norm import SpectralNorm
from toys import pictures, points, same


def source(images: Images, batch_size: int, seed: int = 0, flip: bool = False, reserve: int = 50) -> DeviceSource:
    made = DeviceSource(images, Normal(), 3, batch_size, seed, flip)
    made.reserve(reserve)
    return made


def drawn(made: DeviceSource, ticks: list[int]) -> list[int]:
    """The numbers of the examples, with `prepare` called for as many batches as each tick has."""
    numbers: list[int] = []
    for tick in ticks:
        made.prepare(tick)
        for _ in range(tick):
            numbers += made.reals()[0][:, 0].int().tolist()
    return numbers


# ---------------------------------------------------------------- epochs


@pytest.mark.parametrize("ticks", [[1] * 30, [30], [7, 1, 20, 2]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_every_epoch_shows_every_example_once(batch_size, ticks):
    numbers = drawn(source(points(10), batch_size), ticks)
    assert len(numbers) == 30 * batch_size
    epochs = [numbers[i : i + 10] for i in range(0, len(numbers), 10)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)  # 10! orders: the same one twice is no chance


def test_order_is_a_function_of_seed_and_epoch():
    """Neither batch size, nor ticks, nor anybody's random numbers change it."""
    torch.manual_seed(1)
    expected = drawn(source(points(10), 2), [30])
    torch.manual_seed(2)
    assert drawn(source(points(10), 6), [1] * 10) == expected
    assert drawn(source(points(10), 5, reserve=4), [3, 4, 4, 1]) == expected
    assert drawn(source(points(10), 5, seed=1), [12]) != expected


def test_labels_stay_with_their_examples():
    made = source(points(12, classes=3), 5)
    made.prepare(10)
    for _ in range(10):
        image, label = made.reals()
        assert torch.equal(image[:, 0].long() % 3, label)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_source_resumes_where_it_was(stop):
    """The number of examples drawn is all there is to save, in the middle of an epoch and of a tick too."""
    straight = drawn(source(points(10), 4), [12])
    first = source(points(10), 4)
    first.prepare(12)
    begun = [number for _ in range(stop) for number in first.reals()[0][:, 0].int().tolist()]
    assert list(first.state_dict()) == ["drawn"]
    second = source(points(10), 4)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert begun + drawn(second, [12 - stop]) == straight


def test_no_wish_for_more_than_there_is():
    with pytest.raises(UsageError, match="batch_size=11 is larger than the dataset, which has 10 examples"):
        source(points(10), 11)
    assert sorted(drawn(source(points(10), 10), [1])) == list(range(10))


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_any_seed_will_do(seed):
    assert sorted(drawn(source(points(10), 5, seed=seed), [2])) == list(range(10))


# ---------------------------------------------------------------- pixels


def test_pixels_become_floats_between_minus_one_and_one():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    made = source(Images(pixels, torch.full((3,), -1)), 3)
    made.prepare(1)
    image, _ = made.reals()
    assert image.dtype == torch.float32
    assert torch.allclose(image.flatten().sort().values, torch.tensor([-1.0, -0.6, 1.0]))


def test_flip_mirrors_half_of_the_images():
    """Left to right, each image by a coin of its own, whole; its label stays."""
    torch.manual_seed(0)
    data = pictures(200, (2, 3, 4))
    made = source(data, 200, flip=True)
    made.prepare(20)
    share, originals = [], {tuple((p.float() / 127.5 - 1).flatten().tolist()): i for i, p in enumerate(data.pixels)}
    for _ in range(20):
        image, label = made.reals()
        found = [originals.get(tuple(one.flatten().tolist())) for one in image]
        mirrored = [originals.get(tuple(one.flip(2).flatten().tolist())) for one in image]
        for straight, mirror, of in zip(found, mirrored, label.tolist(), strict=True):
            assert (straight is None) != (mirror is None)
            assert of == (straight if mirror is None else mirror) % 2
        share.append(sum(straight is None for straight in found) / 200)
    assert sum(share) / 20 == pytest.approx(0.5, abs=0.03)
    assert len(set(share)) > 1


def test_points_and_unflipped_images_come_as_they_are():
    assert sorted(drawn(source(points(10), 10, flip=True), [1])) == list(range(10))
    data = pictures(6)
    made = source(data, 6)
    made.prepare(1)
    assert same(
        sorted(made.reals()[0], key=lambda p: p.tolist()), sorted(data.pixels / 127.5 - 1, key=lambda p: p.tolist())
    )


# ---------------------------------------------------------------- labelled


def some_known(size: int = 50) -> Images:
    """Row i is (i, i); only 4, 14, 24, ... have a label, i % 3."""
    data = points(size, classes=3)
    return data._replace(labels=torch.where(torch.arange(size) % 10 == 4, data.labels, -1))


def labelled(made: DeviceSource, batches: int) -> tuple[Tensor, Tensor]:
    made.prepare(batches)
    drawn = [(made.reals(), made.labelled())[1] for _ in range(batches)]
    return torch.cat([image for image, _ in drawn]), torch.cat([label for _, label in drawn])


def test_labelled_are_those_whose_label_is_known_each_as_often():
    torch.manual_seed(0)
    image, label = labelled(source(some_known(), 40, reserve=250), 250)
    numbers = image[:, 0].long()
    assert torch.equal(label, numbers % 3)
    counts = torch.bincount(numbers, minlength=50)
    assert counts.nonzero().flatten().tolist() == [4, 14, 24, 34, 44]
    assert torch.allclose(counts[4::10] / 10_000, torch.full((5,), 0.2), atol=0.015)


def test_labelled_batches_are_fresh_and_use_up_no_epoch():
    """A batch may be larger than what is labelled; seed and place decide it; the order of the reals stays."""
    alone, made, again = source(some_known(), 20), source(some_known(), 20), source(some_known(), 20, seed=1)
    alone.prepare(5), made.prepare(5)
    seen = []
    for _ in range(5):
        assert same(alone.reals(), made.reals())
        seen.append(made.labelled()[0])
    assert seen[0].shape == (20, 2)
    assert len({tuple(batch[:, 0].tolist()) for batch in seen}) == 5
    assert not torch.equal(labelled(again, 5)[0], torch.cat(seen))
    assert list(made.state_dict()) == ["drawn"]


def test_labelled_are_shown_as_reals_are():
    """In [-1, 1], and mirrored as often."""
    torch.manual_seed(0)
    data = pictures(4, (1, 2, 3))
    data = data._replace(labels=torch.tensor([-1, 1, -1, -1]))
    made = source(data, 4, flip=True, reserve=100)
    one = data.pixels[1] / 127.5 - 1
    images, _ = labelled(made, 100)
    straight = (images - one).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert torch.allclose(images[~straight], one.flip(2).expand(int((~straight).sum()), -1, -1, -1), atol=1e-6)
    assert 0.4 < straight.float().mean() < 0.6


# ---------------------------------------------------------------- latents


def test_latents_ask_for_labels_as_often_as_the_data_has_them():
    torch.manual_seed(0)
    labels = torch.tensor([0] * 700 + [1] * 250 + [2] * 50)
    made = source(Images(torch.zeros(1000, 2), labels, ("a", "b", "c")), 1000)
    counts = sum(torch.bincount(made.latents()[1], minlength=3) for _ in range(50)) / 50_000
    assert torch.allclose(counts, torch.tensor([0.7, 0.25, 0.05]), atol=0.01)
    latent, label = source(points(10), 4).latents()
    assert (latent.shape, latent.dtype, label.tolist()) == ((4, 3), torch.float32, [-1] * 4)


def test_latents_ask_for_labels_that_are_known():
    """Of 100 examples six have a label, four of them class 2: the hidden ones are never asked for."""
    torch.manual_seed(0)
    labels = torch.full((100,), -1)
    labels[[3, 5, 8, 20, 40, 99]] = torch.tensor([2, 0, 2, 2, 0, 2])
    made = source(Images(torch.zeros(100, 2), labels, ("a", "b", "c")), 100)
    counts = sum(torch.bincount(made.latents()[1], minlength=3) for _ in range(200)) / 20_000
    assert torch.allclose(counts, torch.tensor([2 / 6, 0, 4 / 6]), atol=0.015)


def test_latents_are_fresh_every_time():
    """Trap: random numbers that start anew. Two draws differ; the global seed decides both."""
    made = source(points(10), 4)
    torch.manual_seed(5)
    first, second = made.latents()[0], made.latents()[0]
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(first, made.latents()[0])


# ---------------------------------------------------------------- the deployed generator


def trained_game() -> Game:
    """BatchNorm and spectral norm in G, whose buffers change whenever they are used in train mode; and an EMA of it."""
    torch.manual_seed(0)
    shape, small = (1, 8, 8), {"features": 4, "max_features": 8}
    nets = dcgan.Generator(shape, 3, **small), dcgan.Discriminator(shape, **small)
    tricks = {"spectral_norm": SpectralNorm("both"), "ema": EMA()}
    game = Game(*nets, NonSaturating(), tricks, source(pictures(20), 4))
    for _ in range(3):
        game.nets["generator"](torch.randn(4, 3), torch.full((4,), -1))
    with torch.no_grad():
        game.tricks["ema"].after_g(game.nets)
    return game


def snapshot(game: Game) -> tuple[list[Tensor], list[bool], Tensor]:
    state = [tensor.clone() for tensor in (*game.parameters(), *game.buffers())]
    return state, [module.training for module in game.modules()], torch.get_rng_state()


@pytest.mark.parametrize("raw", [False, True])
def test_drawing_leaves_no_trace(raw):
    """Trap: G sampled in train mode. Weights, buffers, modes and random numbers are as before, bit for bit."""
    game = trained_game()
    next(iter(game.nets["generator"].body)).eval()  # a mode that differs must come back too
    state, modes, rng = snapshot(game)
    deployed = Deployed(game, Normal(), 3, [5, 5], raw=raw, batch_size=4)
    assert deployed.draw(10, torch.Generator().manual_seed(1)).shape == (10, 1, 8, 8)
    deployed.latents(3, torch.Generator(), truncation=0.5)
    after = snapshot(game)
    assert same(state, after[0])
    assert modes == after[1]
    assert torch.equal(rng, after[2])


def test_drawing_uses_up_none_of_the_training_s_random_numbers():
    """Codes of the objective and noise within G come from torch's own generator, which is put back."""

    class Coded(NonSaturating):
        codes = 1

        def latent(self, noise: Tensor) -> Tensor:
            return torch.cat([noise, torch.rand(len(noise), 1)], dim=1)

    class Noisy(nn.Linear):
        def forward(self, latent: Tensor, label: Tensor) -> Tensor:
            return super().forward(latent + torch.randn_like(latent))

    game = Game(Noisy(4, 2), nn.Identity(), Coded(), {}, source(points(10), 4))
    before = torch.get_rng_state()
    sample = Deployed(game, Normal(), 3, []).draw(5, torch.Generator().manual_seed(0))
    assert sample.shape == (5, 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("raw", [False, True])
def test_sample_does_not_depend_on_its_neighbours(raw):
    """Eval mode: the same latent gives the same image alone and in any batch. BatchNorm would mix them."""
    game = trained_game()
    net = game.nets["generator"] if raw else game.deployed
    latent, label = torch.randn(9, 3), torch.full((9,), -1)
    whole = Deployed(game, Normal(), 3, [], raw=raw).images(latent, label)
    pieces = Deployed(game, Normal(), 3, [], raw=raw, batch_size=2).images(latent, label)
    assert torch.allclose(whole, pieces, atol=1e-6)
    assert not torch.allclose(net(latent, label), whole, atol=1e-3)  # the net itself is in train mode


def test_deployed_is_the_average_and_raw_is_not():
    game = trained_game()
    with torch.no_grad():
        for parameter in game.nets["generator"].parameters():
            parameter += 0.5
    latent, label = torch.randn(5, 3), torch.full((5,), -1)
    with evaluating(game), torch.no_grad():
        live, average = game.nets["generator"](latent, label), game.tricks["ema"].average(latent, label)
    assert torch.allclose(Deployed(game, Normal(), 3, []).images(latent, label), average, atol=1e-6)
    assert torch.allclose(Deployed(game, Normal(), 3, [], raw=True).images(latent, label), live, atol=1e-6)
    assert not torch.allclose(live, average, atol=1e-3)


def test_draws_follow_their_seed_and_the_data():
    game = trained_game()
    deployed = Deployed(game, Normal(), 3, [900, 0, 100])
    seeds = [deployed.draw(6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], seeds[2])
    counts = torch.bincount(deployed.labels(20_000, torch.Generator().manual_seed(0)), minlength=3) / 20_000
    assert torch.allclose(counts, torch.tensor([0.9, 0.0, 0.1]), atol=0.01)
    assert Deployed(game, Normal(), 3, []).labels(3, torch.Generator()).tolist() == [-1] * 3
    assert deployed.latents(1000, torch.Generator(), truncation=0.5).abs().max() <= 0.5


def test_evaluating_gives_every_module_its_mode_back():
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout()))
    net[1].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(KeyError), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise KeyError
    assert [module.training for module in net.modules()] == before == [True, True, False, False]
