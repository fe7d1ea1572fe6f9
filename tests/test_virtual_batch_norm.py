"""Normalisation by a batch that stays the same: its moments by hand, and an example that has no neighbours."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.architectures import dcgan
from gantool.config.build import Builder
from gantool.game.surgery import Appended
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder
from gantool.tricks.virtual_batch_norm import ReferenceNorm, VirtualBatchNorm
from toys import composed_game, pictures, plain, players, refusal, same

NORMED = ["architecture.generator.normalization=batch", "architecture.discriminator.normalization=batch"]
NETS = {
    "mlp": [*NORMED, "architecture.generator.hidden=[8,8]", "architecture.discriminator.hidden=[8,8]"],
    "dcgan": [
        "architecture=dcgan", *(f"architecture.{p}.features=4" for p in ("generator", "discriminator")), "batch_size=5",
    ],
}  # fmt: skip
IMAGES = pictures(10, (1, 16, 16))
composed: dict[tuple[str, ...], Any] = {}


def game_with(compose, nets: str, trick: str = "virtual_batch_norm", player: str = "both", *more: str, seed: int = 0):
    torch.manual_seed(seed)
    chosen = [f"trick=[{trick}]", f"trick.{trick}.player={player}"] if trick else []

    def once(*overrides: str) -> Any:
        return composed[overrides] if overrides in composed else composed.setdefault(overrides, compose(*overrides))

    return composed_game(once, *NETS[nets], *chosen, *more, images=IMAGES)


def outputs(game, player: str, seeds: list[int]) -> Tensor:
    """What a net says of examples of these seeds, in one batch."""
    net = game.nets[player]
    shape = IMAGES.shape if player == "discriminator" else (net.latent_dim,)
    batch = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    said = net(batch, torch.full((len(seeds),), -1))
    return (said.logits if player == "discriminator" else said).flatten(1).detach()


# ---------------------------------------------------------------- moments


def norm(virtual: bool, rows: int, features: int, dims: int = 1) -> ReferenceNorm:
    plain = (nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d)(features)
    plain.weight.data.uniform_(0.5, 2.0)
    plain.bias.data.normal_()
    return ReferenceNorm(plain, virtual, rows)


def test_moments_by_hand():
    """Reference 1, 3: mean 2, variance 1. With 8 beside them: mean 4, variance (9 + 1 + 16) / 3; with 2: 2 and 2/3."""
    x = torch.tensor([[1.0], [3.0], [8.0], [2.0]])
    virtual, alone = (ReferenceNorm(nn.BatchNorm1d(1), virtual, 2) for virtual in (True, False))
    assert torch.allclose(alone(x).flatten(), torch.tensor([-1.0, 1, 6, 0]), atol=1e-4)
    assert torch.allclose(virtual(x).flatten(), torch.tensor([-1.0, 1, 4 / (26 / 3) ** 0.5, 0]), atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5)], ids=["1d", "2d"])
def test_an_example_is_normalised_as_the_last_of_the_reference_batch(shape):
    """Virtual: as BatchNorm in training would, in the batch of the reference and this example alone."""
    torch.manual_seed(0)
    layer = norm(True, 6, 3, len(shape))
    x = 5 + 2 * torch.randn(6 + 4, *shape)
    found = layer(x)
    for i in range(6, 10):
        batch = torch.cat([x[:6], x[i : i + 1]])
        assert torch.allclose(found[i], F.batch_norm(batch, None, None, layer.weight, layer.bias, True)[-1], atol=1e-5)


@pytest.mark.parametrize("virtual", [True, False])
@pytest.mark.parametrize("shape", [(3,), (3, 4, 5)], ids=["1d", "2d"])
def test_the_reference_is_normalised_by_itself(shape, virtual):
    torch.manual_seed(0)
    layer = norm(virtual, 6, 3, len(shape))
    x = 5 + 2 * torch.randn(6 + 4, *shape)
    expected = F.batch_norm(x[:6], None, None, layer.weight, layer.bias, True)
    assert torch.allclose(layer(x)[:6], expected, atol=1e-5)
    assert torch.allclose(layer(torch.cat([x[:6], x[:6]]))[6:], expected, atol=1e-5) != virtual


def test_moments_far_from_zero_are_exact():
    """Mean 1000, deviation 1: the mean of squares less the square of the mean would lose most digits in float32."""
    x = 1000 + torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = ReferenceNorm(nn.BatchNorm1d(3), True, 6)
    last = torch.cat([x[:6], x[7:]])
    expected = (last[-1] - last.mean(dim=0)) / (last.var(dim=0, correction=0) + 1e-5).sqrt()
    assert torch.allclose(layer(x.float())[7].double(), expected, atol=1e-3)


# ---------------------------------------------------------------- an example and its neighbours


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("nets", NETS)
@pytest.mark.parametrize("trick", ["virtual_batch_norm", "reference_batch_norm"])
def test_an_example_does_not_depend_on_its_neighbours(compose, trick, nets, player, training):
    game = game_with(compose, nets, trick).train(training)
    together, others, alone = (outputs(game, player, seeds) for seeds in ([1, 2, 3], [1, 7], [1]))
    assert torch.allclose(together[0], others[0], atol=1e-5)
    assert torch.allclose(together[0], alone[0], atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3  # but on itself


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("nets", NETS)
def test_with_batch_norm_it_does(compose, nets, player):
    game = game_with(compose, nets, "")
    assert (outputs(game, player, [1, 2, 3])[0] - outputs(game, player, [1, 7])[0]).abs().max() > 1e-3


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("nets", NETS)
def test_the_reference_batch_comes_out_as_batch_norm_would_make_it(compose, nets, player):
    """Reference batch normalisation of the reference batch = BatchNorm in training, with the same gains and biases."""
    game = game_with(compose, nets, "reference_batch_norm")
    net, bare = game.nets[player], game_with(compose, nets, "").nets[player]
    bare.load_state_dict({name: value for name, value in net.state_dict().items() if name in bare.state_dict()}, False)
    found, expected = (each(net.reference, net.reference_label) for each in (net, bare))
    if player == "discriminator":
        found, expected = found.logits, expected.logits
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("virtual", [True, False])
def test_gains_and_biases_are_those_of_the_batch_norm(virtual):
    """The same parameters, in the same order, so that whoever has their copy may keep it."""
    net = dcgan.Generator((1, 16, 16), 6, features=2)
    before = list(net.parameters())

    class Latents:
        batch_size = 4

        def latents(self) -> tuple[Tensor, Tensor]:
            return torch.randn(4, 6), torch.full((4,), -1)

    VirtualBatchNorm("generator", virtual).rewrite(nn.ModuleDict({"generator": net}), Latents())
    after = list(net.parameters())
    assert len(before) == len(after) and all(one is other for one, other in zip(before, after, strict=True))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    assert {layer.virtual for layer in net.modules() if isinstance(layer, ReferenceNorm)} == {virtual}


def test_it_costs_a_batch_more(compose):
    game, seen = game_with(compose, "mlp"), []
    for net in game.nets.values():
        first = next(layer for layer in net.modules() if isinstance(layer, nn.Linear))
        first.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    game.d_loss()
    assert seen == [4 + 4, 4 + 4, 4 + 4]  # G, D on reals, D on fakes


# ---------------------------------------------------------------- the reference batch


def test_the_reference_is_chosen_once(compose):
    game = game_with(compose, "mlp")
    before = [buffer.clone() for name, buffer in game.nets.named_buffers() if "reference" in name]
    assert len(before) == 4
    assert before[2].shape == (4, *IMAGES.shape)
    update = Builder().make("update", plain(compose())["update"])
    game.source.reserve(8)
    game.source.prepare(8)
    for _ in range(3):
        update(game, *players(game, lr=0.1))
    assert same(before, [buffer for name, buffer in game.nets.named_buffers() if "reference" in name])


def test_the_reference_has_the_objectives_codes(compose):
    """InfoGAN's first code is one-hot, so latents of pure noise would be no reference."""
    game = game_with(compose, "mlp", "virtual_batch_norm", "generator", "objective=info")
    width = game.objective.codes[0]
    codes = game.nets["generator"].reference[:, :width]
    assert width > 1
    assert torch.equal(codes.sort(dim=1).values, torch.eye(width)[-1].expand(4, -1))


def test_the_reference_has_classes(compose):
    """Of G those that it is asked for, of D those of its examples; and both are told them."""
    game = game_with(compose, "mlp", "virtual_batch_norm", "both", "architecture.class_conditional=true")
    for player, net in game.nets.items():
        assert set(net.reference_label.tolist()) <= {0, 1}
        before = outputs(game, player, [1])
        net.reference_label.sub_(1).abs_()  # 0 -> 1, 1 -> 0
        assert (outputs(game, player, [1]) - before).abs().max() > 1e-4


def test_state_is_saved_and_restored(compose):
    game = game_with(compose, "dcgan")
    state = copy.deepcopy(game.state_dict())
    other = game_with(compose, "dcgan", seed=7)
    assert not torch.equal(other.nets["generator"].reference, game.nets["generator"].reference)
    other.restore(state)
    for player in game.nets:
        assert torch.equal(outputs(other, player, [1, 2]), outputs(game, player, [1, 2]))


def test_emas_copy_has_the_reference(compose):
    game = game_with(compose, "mlp", "virtual_batch_norm", "generator", "trick=[ema,virtual_batch_norm]")
    assert torch.equal(game.deployed.reference, game.nets["generator"].reference)
    latent, nobody = torch.randn(3, 64), torch.full((3,), -1)
    assert game.deployed is not game.nets["generator"]
    assert torch.equal(game.deployed(latent, nobody), game.nets["generator"](latent, nobody))


def test_samples_are_normalised_by_the_reference_in_the_checkpoint(gantool: Gantool):
    """One hidden layer, by hand: BatchNorm of (reference, example), ReLU, tanh; and in batches of any size the same."""
    nets = ("architecture.generator.hidden=[8]", "architecture.generator.normalization=batch")
    tricks = ("trick=[ema,virtual_batch_norm]", "logger=[]", "steps=4", "hydra.run.dir=run")
    assert gantool("train", *nets, *tricks).code == 0
    dump = ("sample", "run=run", "sampler=dump", "format=npz", "n=3", "seed=4")
    assert gantool(*dump, "out=x").code == gantool(*dump, "batch_size=2", "out=y").code == 0
    game = checkpoint.load(checkpoint.choose(RunFolder(Path("run")), "last"))["game"]
    w, v, gain, bias, x, y = (game[f"tricks.ema.average.body.{i}.{name}"] for i, name in (
        (0, "weight"), (0, "bias"), (1, "weight"), (1, "bias"), (3, "weight"), (3, "bias")))  # fmt: skip
    latent = torch.randn(3, 64, generator=torch.Generator().manual_seed(4))
    reference = game["tricks.ema.average.reference"]
    hidden = [F.batch_norm(torch.cat([reference, z[None]]) @ w.T + v, None, None, gain, bias, True)[-1] for z in latent]
    pixels = torch.tanh(torch.relu(torch.stack(hidden)) @ x.T + y).view(3, 8, 8, 1)
    for path in ("x.npz", "y.npz"):
        with np.load(path) as arrays:
            assert np.abs(arrays["images"].astype(int) - ((pixels + 1) * 127.5).round().numpy()).max() <= 1


# ---------------------------------------------------------------- beside others


@pytest.mark.parametrize("nets", NETS)
def test_weights_of_the_future_are_used(compose, nets):
    """As unrolling calls D: with other weights, and buffers and hooks of its own."""
    discriminator = game_with(compose, nets).nets["discriminator"]
    future = {name: 2 * weight.detach() for name, weight in discriminator.named_parameters()}
    other = copy.deepcopy(discriminator)
    other.load_state_dict(future, strict=False)
    arguments = torch.randn(3, *IMAGES.shape), torch.full((3,), -1)
    assert torch.equal(functional_call(discriminator, future, arguments).logits, other(*arguments).logits)


def test_it_plays_under_unrolling(compose):
    game = game_with(compose, "mlp", "virtual_batch_norm", "both", "update=unrolled")
    update = Builder().make("update", plain(compose("update=unrolled"))["update"])
    game.source.reserve(update.real_batches(game))
    game.source.prepare(update.real_batches(game))
    before = game.nets["generator"].state_dict(keep_vars=False)
    before = {name: value.clone() for name, value in before.items()}
    update(game, *players(game, lr=0.1))
    after = game.nets["generator"].state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not torch.equal(before["body.1.weight"], after["body.1.weight"])


@pytest.mark.parametrize("order", ["{0},virtual_batch_norm", "virtual_batch_norm,{0}"])
@pytest.mark.parametrize("trick", ["minibatch_discrimination", "minibatch_stddev"])
def test_a_batch_is_not_compared_with_the_reference(compose, trick, order):
    """What D is told of its batch is told of the reference and of the batch apart, whatever the order."""
    chosen = [f"trick=[{order.format(trick)}]", "trick.virtual_batch_norm.player=discriminator"]
    torch.manual_seed(0)
    discriminator = composed_game(compose, *NETS["mlp"], *chosen, images=IMAGES).nets["discriminator"]
    assert isinstance(discriminator.trunk, Appended)
    features = discriminator(torch.randn(6, *IMAGES.shape), torch.full((6,), -1)).features
    assert torch.allclose(discriminator.trunk.layer(features[:, :8]), features[:, 8:], atol=1e-5)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_nets_without_batch_norm_are_refused(compose, player):
    chosen = ("trick=[virtual_batch_norm]", f"trick.virtual_batch_norm.player={player}")
    sentence = refusal(composed_game, compose, *chosen)
    assert f"the {player} has no BatchNorm to replace" in sentence
    assert f"architecture.{player}.normalization=batch" in sentence


@pytest.mark.parametrize("trick", ["virtual_batch_norm", "reference_batch_norm"])
def test_what_is_advised_for_a_net_of_one_layer_helps(compose, trick):
    """D of a dcgan at 8 pixels is asked for BatchNorm already, but its only layer looks at pixels, and has none."""
    chosen = [*NETS["dcgan"], f"trick=[{trick}]", f"trick.{trick}.player="]
    small = pictures(10, (1, 8, 8))
    for player in ("discriminator", "both"):
        sentence = refusal(composed_game, compose, *chosen[:-1], chosen[-1] + player, images=small)
        for advice in ("where that is so already", "a larger dataset.resolution", "player=generator"):
            assert advice in sentence
    assert composed_game(compose, *chosen[:-1], chosen[-1] + "generator", images=small)
    assert composed_game(compose, *chosen[:-1], chosen[-1] + "discriminator", images=IMAGES)  # 16 pixels


def test_it_needs_a_discriminator_where_it_changes_one(compose):
    chosen = ("objective=mmd", "trick=[virtual_batch_norm]", "trick.virtual_batch_norm.player=discriminator")
    assert "trick.virtual_batch_norm acts on a discriminator that learns" in refusal(composed_game, compose, *chosen)
    assert composed_game(compose, *chosen[:2], NORMED[0])
