"""The nets: shapes for all sorts of data, sizes of the papers, and what surgery relies on."""

import math

import pytest
import torch
from torch import nn

from gantool.architectures import dcgan, mlp, mlp_maxout, mlp_salimans2016
from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.errors import UsageError
from gantool.game.networks import Discriminator, Generator, Noise, OneHot, ToImage, ToShare, hidden
from gantool.tricks.spectral_norm import SpectralNorm
from toys import plain

ARCHITECTURES = sorted(path.stem for path in (conf_dir() / "architecture").glob("*.yaml"))
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SMALL = {"features": 2, "max_features": 8}


def built(compose, name: str, shape: tuple[int, ...], num_classes: int = 0, logits: int = 1):
    """The nets that the YAML file names, with its own settings."""
    node, make = plain(compose(f"architecture={name}"))["architecture"], Builder().make
    facts = {"shape": shape, "num_classes": num_classes}
    generator = make("architecture.generator", node["generator"], Generator, latent_dim=node["latent_dim"], **facts)
    return (
        generator,
        make("architecture.discriminator", node["discriminator"], Discriminator, logits=logits, **facts),
        node["latent_dim"],
    )


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def labels(n: int, label: int = -1) -> torch.Tensor:
    return torch.full((n,), label)


# ---------------------------------------------------------------- every architecture


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16, 16), (3, 28, 28), (5, 32, 32)], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_and_conventions(compose, name, shape):
    """Trap: greyscale, 32 pixels or RGB hard-wired somewhere. And `trunk`, `head`, `num_features` are what they say."""
    torch.manual_seed(0)
    generator, discriminator, latent_dim = built(compose, name, shape, logits=3)
    image = generator(torch.randn(4, latent_dim), labels(4))
    assert image.shape == (4, *shape)
    assert image.dtype == torch.float32
    assert image.abs().max() <= 1
    discriminator.eval()
    logits, features = discriminator(image, labels(4))
    assert features.shape == (4, discriminator.num_features)
    assert torch.equal(features, discriminator.trunk(image))
    assert logits.shape == (4, 3)
    if discriminator.energy:  # an autoencoder: an error, two more that are linear, and `head` decodes
        error = (image - discriminator.head(features)).abs().flatten(1).mean(dim=1)
        assert torch.allclose(logits[:, 0], error)
        assert torch.allclose(logits[:, 1:], discriminator.further(features))
        return
    assert torch.equal(logits, discriminator.head(features))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_points_are_built_or_refused(compose, name):
    """Points keep their scale: no tanh at the end."""
    if name.startswith("dcgan"):
        with pytest.raises(UsageError, match="is for images, this dataset holds points: take architecture=mlp"):
            built(compose, name, (2,))
        return
    generator, discriminator, latent_dim = built(compose, name, (2,))
    assert discriminator(torch.randn(4, 2), labels(4)).logits.shape == (4, 1)
    for layer in generator.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == 2:
            layer.bias.data.fill_(40.0)
    assert generator(torch.randn(4, latent_dim), labels(4)).min() > 10


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_learns(compose, name):
    torch.manual_seed(0)
    generator, discriminator, latent_dim = built(compose, name, (3, 16, 16), num_classes=2)
    label = torch.tensor([0, 1] * 16)
    loss = discriminator(generator(torch.randn(32, latent_dim), label), label).logits.square().sum()
    for net in (generator, discriminator):
        for (key, _), grad in zip(
            net.named_parameters(), torch.autograd.grad(loss, net.parameters(), retain_graph=True), strict=True
        ):
            assert grad.abs().max() > 0, key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batch_norm_keeps_the_defaults_of_its_paper(compose, name):
    """Trap: `eps` given where `momentum` was meant (BatchNorm2d(128, 0.8))."""
    for net in built(compose, name, (3, 32, 32))[:2]:
        for layer in net.modules():
            if isinstance(layer, NORMS):
                assert (layer.eps, layer.momentum, layer.affine, layer.track_running_stats) == (1e-5, 0.1, True, True)


# ---------------------------------------------------------------- labels


def test_one_hot_of_no_label_is_zeros():
    assert torch.equal(OneHot(3)(torch.tensor([0, 2, -1])), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 0]]))
    assert OneHot(0)(torch.tensor([-1, -1])).shape == (2, 0)
    assert not OneHot(3).state_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_label_changes_what_both_nets_say(compose, name):
    torch.manual_seed(0)
    shape = (1, 8, 8)
    generator, discriminator, latent_dim = (
        part.eval() if isinstance(part, nn.Module) else part for part in built(compose, name, shape, num_classes=3)
    )
    latent, image = torch.randn(2, latent_dim), torch.randn(2, *shape)
    images = [generator(latent, labels(2, label)) for label in (-1, 0, 1, 2)]
    verdicts = [discriminator(image, labels(2, label)).logits for label in (-1, 0, 1, 2)]
    for outputs in (images, verdicts):
        for i, one in enumerate(outputs):
            assert not any(torch.allclose(one, other, atol=1e-9) for other in outputs[i + 1 :])
    unlabelled = torch.cat([latent, torch.zeros(2, 3)], dim=1)
    assert torch.equal(images[0], generator.body(unlabelled).view(2, *shape))
    if discriminator.energy:  # tests/test_began.py has its planes
        return
    assert torch.equal(
        verdicts[0], discriminator.head(discriminator.trunk(torch.cat([image, torch.zeros(2, 3, 8, 8)], dim=1)))
    )
    second = torch.zeros(2, 3, 8, 8)
    second[:, 1] = 1
    assert torch.equal(verdicts[2], discriminator.head(discriminator.trunk(torch.cat([image, second], dim=1))))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_label_is_ignored_without_classes(compose, name):
    generator, discriminator, latent_dim = built(compose, name, (1, 8, 8))
    generator.eval(), discriminator.eval()
    latent, image = torch.randn(2, latent_dim), torch.randn(2, 1, 8, 8)
    assert torch.equal(generator(latent, labels(2, 0)), generator(latent, labels(2, 7)))
    assert torch.equal(discriminator(image, labels(2, 0)).logits, discriminator(image, labels(2, 7)).logits)


# ---------------------------------------------------------------- dcgan


@pytest.mark.parametrize(
    "size, smallest, doublings",
    [(8, 4, 1), (12, 6, 1), (14, 7, 1), (16, 4, 2), (20, 5, 2), (28, 7, 2), (32, 4, 3), (48, 6, 3), (64, 4, 4),
     (96, 6, 4), (112, 7, 4), (128, 4, 5), (256, 4, 6)],
)  # fmt: skip
def test_dcgan_builds_its_resolutions(size, smallest, doublings):
    channels = 1 + size % 3
    assert dcgan.stages((channels, size, size)) == (smallest, doublings)
    generator = dcgan.Generator((channels, size, size), 6, **SMALL)
    discriminator = dcgan.Discriminator((channels, size, size), **SMALL)
    image = generator(torch.randn(2, 6), labels(2))
    assert image.shape == (2, channels, size, size)
    maps = [layer for layer in discriminator.trunk if isinstance(layer, nn.Conv2d)]
    assert len(maps) == doublings
    assert discriminator.num_features == min(2 * 2 ** (doublings - 1), 8) * smallest**2
    assert discriminator(image, labels(2)).logits.shape == (2, 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_dcgan_takes_any_channels(channels):
    image = dcgan.Generator((channels, 16, 16), 6, **SMALL)(torch.randn(2, 6), labels(2))
    assert dcgan.Discriminator((channels, 16, 16), **SMALL)(image, labels(2)).logits.shape == (2, 1)


@pytest.mark.parametrize("height, width", [(4, 4), (7, 7), (9, 9), (30, 30), (33, 33), (36, 36), (100, 100), (32, 16)])
def test_dcgan_refuses_other_resolutions(height, width):
    for net in (lambda: dcgan.Generator((1, height, width), 6), lambda: dcgan.Discriminator((1, height, width))):
        with pytest.raises(UsageError, match=f"architecture=dcgan cannot build {height} x {width} pixels: take"):
            net()


def test_dcgan_at_64_pixels_has_the_size_of_its_paper():
    """100 -> 4 x 4 x 512 -> 8 x 8 x 256 -> 16 x 16 x 128 -> 32 x 32 x 64 -> 64 x 64 x 3 (Radford et al. 2015).

    A kernel has 4 x 4 weights a pair of channels; BatchNorm has a gain and a bias a channel and takes the place of
    the bias before it.
    """
    maps = 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(dcgan.Generator((3, 64, 64), 100)) == 100 * 16 * 512 + maps + 2 * (512 + 256 + 128 + 64) + 3
    assert count(dcgan.Discriminator((3, 64, 64))) == maps + 64 + 2 * (128 + 256 + 512) + 16 * 512 + 1


def test_dcgan_starts_as_in_its_paper():
    torch.manual_seed(0)
    discriminator = dcgan.Discriminator((3, 64, 64))
    for layer in discriminator.trunk:
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=0.001)
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        if isinstance(layer, nn.BatchNorm2d):
            assert float(layer.weight.detach().mean()) == pytest.approx(1, abs=0.01)
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
    slopes = {layer.negative_slope for layer in discriminator.trunk if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_dcgan_without_batch_norm():
    """As a gradient penalty wants it: no layer in which examples meet."""
    nets = dcgan.Generator((3, 32, 32), 6, normalization="none"), dcgan.Discriminator((3, 32, 32), normalization="none")
    assert not any(isinstance(layer, NORMS) for net in nets for layer in net.modules())
    image = torch.randn(3, 3, 32, 32)
    together, alone = nets[1](image, labels(3)).logits, nets[1](image[:1], labels(1)).logits
    assert torch.allclose(together[:1], alone, atol=1e-5)


# ---------------------------------------------------------------- options of mlp and dcgan


def made(name: str, player: str, **options) -> nn.Module:
    """A small net for images of 16 x 16 pixels with two hidden layers (mlp) or two maps (dcgan)."""
    torch.manual_seed(0)
    size = {"hidden": [30, 20]} if name == "mlp" else {"features": 4}
    nets = {"mlp": mlp, "dcgan": dcgan}[name]
    if player == "generator":
        return nets.Generator((1, 16, 16), 6, **size, **options)
    return nets.Discriminator((1, 16, 16), **size, **options)


def said(net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    output = net(batch, labels(len(batch)))
    return output if isinstance(net, Generator) else output.logits


def inputs(player: str, n: int) -> torch.Tensor:
    return torch.randn(n, 6) if player == "generator" else torch.randn(n, 1, 16, 16)


NETS = [(name, player) for name in ("mlp", "dcgan") for player in ("generator", "discriminator")]


@pytest.mark.parametrize("name, player", NETS)
@pytest.mark.parametrize("normalization, kinds", [("batch", NORMS), ("layer", (nn.GroupNorm,)), ("none", ())])
def test_normalization(name, player, normalization, kinds):
    """In both layers, but for the first map of dcgan's D. Only with batch do examples meet, and only in training."""
    net = made(name, player, normalization=normalization)
    found = [layer for layer in net.modules() if isinstance(layer, (*NORMS, nn.GroupNorm))]
    assert len(found) == (0 if normalization == "none" else 1 if (name, player) == ("dcgan", "discriminator") else 2)
    assert all(isinstance(layer, kinds) for layer in found)
    batch = inputs(player, 4)
    for training in (True, False):
        together, pair = said(net.train(training), batch)[0], said(net, batch[[0, 3]])[0]
        meet = normalization == "batch" and training
        assert ((together - pair).abs().max() > 1e-5) == meet
    slopes = torch.autograd.grad(said(net.train(), batch).square().sum(), list(net.parameters()))
    assert all(slope.abs().max() > 0 for slope in slopes)  # no bias before a BatchNorm of dcgan, which would be idle


@pytest.mark.parametrize("shape", [(20,), (4, 3, 3)], ids=["1d", "2d"])
def test_layer_norm_takes_all_features_of_an_example_together(shape):
    """Mean 0 and variance 1 over an example (Ba et al. 2016), over channels and pixels of a map too."""
    torch.manual_seed(0)
    layer = hidden(shape[0], len(shape) - 1, "layer", 0.2)[0]
    x = 3 + 5 * torch.randn(6, *shape)
    each = x.flatten(1)
    mean, std = each.mean(dim=1, keepdim=True), each.std(dim=1, correction=0, keepdim=True)
    assert torch.allclose(layer(x).flatten(1), (each - mean) / std, atol=1e-4)


@pytest.mark.parametrize("name, player", NETS)
def test_leaks(name, player):
    for leak, slopes in ((0.3, {0.3}), (0.0, set())):
        net = made(name, player, leak=leak)
        assert {layer.negative_slope for layer in net.modules() if isinstance(layer, nn.LeakyReLU)} == slopes
        assert any(isinstance(layer, nn.ReLU) for layer in net.modules()) == (not slopes)


@pytest.mark.parametrize("name", ["mlp", "dcgan"])
@pytest.mark.parametrize("option", ["dropout", "noise"])
def test_a_generators_noise_never_stops(name, option):
    """ganhacks, 13 and 17: in training and at test time. By default the same latent is the same example."""
    latent = inputs("generator", 3)
    for value, differs in ((0.5, True), (0.0, False)):
        net = made(name, "generator", normalization="none", **{option: value})
        for training in (True, False):
            one, two = (said(net.train(training), latent) for _ in range(2))
            assert (not torch.equal(one, two)) == differs


@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_a_discriminators_dropout_is_of_training_only(name):
    net, image = made(name, "discriminator", normalization="none", dropout=0.5), inputs("discriminator", 3)
    layers = [layer for layer in net.trunk if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.5, 0.5]
    assert not torch.equal(said(net, image), said(net, image))
    assert torch.equal(said(net.eval(), image), said(net, image))


def test_noise_has_its_share_and_its_deviation():
    """Dropout scales what it keeps so that the mean stays; noise of deviation 0.3 comes on top."""
    torch.manual_seed(0)
    x = torch.full((100, 1000), 3.0)
    assert Noise(0.2, 0.0)(x).unique().tolist() == [0.0, 3.75]
    noisy = Noise(0.2, 0.3).eval()(x)
    assert float(noisy.mean()) == pytest.approx(3, rel=0.01)
    assert float(noisy.var()) == pytest.approx(3.75**2 * 0.2 * 0.8 + 0.3**2, rel=0.02)


# ---------------------------------------------------------------- mlp and mlp_maxout


def linears(net: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in net.modules() if isinstance(layer, nn.Linear)]


def test_mlp_has_the_layers_it_was_given():
    generator = mlp.Generator((2, 4, 4), 5, hidden=[7, 9])
    assert linears(generator) == [(5, 7), (7, 9), (9, 32)]
    discriminator = mlp.Discriminator((2, 4, 4), num_classes=3, hidden=[6], logits=2)
    assert linears(discriminator) == [(5 * 16, 6), (6, 2)]
    assert linears(mlp.Discriminator((2,), hidden=[])) == [(2, 1)]
    assert linears(mlp.Generator((2,), 5, hidden=[])) == [(5, 2)]


def test_squashes_of_images():
    x = torch.tensor([[[[-50.0, 0.0, 0.7, 50.0]]]])
    shape = (1, 1, 4)
    assert torch.allclose(ToImage(shape, "tanh")(x), torch.tensor([-1, 0, math.tanh(0.7), 1]))
    assert torch.allclose(ToImage(shape, "sigmoid")(x), torch.tensor([-1, 0, 2 / (1 + math.exp(-0.7)) - 1, 1]))
    assert torch.equal(ToImage((2,), "tanh")(x), x)


def test_maxout_nets_have_the_sizes_of_2014(compose):
    """100 -> 1200 -> 1200 -> 784, and 784 -> 240 x 5 -> 240 x 5 -> 1 (github.com/goodfeli/adversarial, mnist.yaml)."""
    generator, discriminator, latent_dim = built(compose, "mlp_maxout", (1, 28, 28))
    assert latent_dim == 100
    assert linears(generator) == [(100, 1200), (1200, 1200), (1200, 784)]
    assert linears(discriminator) == [(784, 1200), (240, 1200), (240, 1)]
    for net, most in ((generator, 0.05), (discriminator, 0.005)):
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                assert 0.9 * most < layer.weight.abs().max() <= most
                assert not layer.bias.any()


def test_maxout_by_hand():
    """Unit 0 is max(x, -x), unit 1 is max(2x + 1, 3)."""
    layer = mlp_maxout.Maxout(1, units=2, pieces=2)
    layer.linear.weight.data = torch.tensor([[1.0], [-1.0], [2.0], [0.0]])
    layer.linear.bias.data = torch.tensor([0.0, 0.0, 1.0, 3.0])
    assert torch.equal(layer(torch.tensor([[-2.0], [5.0]])), torch.tensor([[2.0, 3.0], [5.0, 11.0]]))


def test_dropout_of_2014_leaves_out_black_and_scales_up_the_rest():
    """A fifth of the pixels and half of the units; what is kept is multiplied by 1.25 and 2 (input_scales)."""
    torch.manual_seed(0)
    trunk = mlp_maxout.Discriminator((1, 8, 8)).trunk
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in trunk:
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda layer, given, out: seen.append((given[0].detach(), out.detach())))
    trunk(torch.rand(500, 1, 8, 8) * 1.8 - 0.8)
    for (given, out), share in zip(seen, [0.2, 0.5, 0.5], strict=True):
        left_out = (out == 0) & (given != 0)
        assert float(left_out.float().mean()) == pytest.approx(share, abs=0.02)
        assert torch.allclose(out[~left_out], given[~left_out] / (1 - share))
    assert 0 < seen[0][0].min() < 0.12  # it sees [0, 1]
    assert 0.98 < seen[0][0].max() <= 1


# ---------------------------------------------------------------- dcgan_chen2016


def test_nets_of_infogan_have_their_sizes(compose):
    """Chen et al. 2016, appendix C.1, table 1: a row each for D, for Q beside it, and for G, on MNIST."""
    generator, discriminator, latent_dim = built(compose, "dcgan_chen2016", (1, 28, 28), logits=1 + 12)
    assert latent_dim == 74 and linears(generator) == [(74, 1024), (1024, 7 * 7 * 128)]
    assert linears(discriminator) == [(7 * 7 * 128, 1024), (1024, 1), (1024, 128), (128, 12)]
    for net, kind, channels in ((generator, nn.ConvTranspose2d, [(128, 64), (64, 1)]),
                                (discriminator, nn.Conv2d, [(1, 64), (64, 128)])):  # fmt: skip
        convolutions = [layer for layer in net.modules() if isinstance(layer, kind)]
        assert [(each.in_channels, each.out_channels) for each in convolutions] == channels
        assert {(each.kernel_size, each.stride) for each in convolutions} == {((4, 4), (2, 2))}
    assert sum(isinstance(layer, NORMS) for layer in generator.modules()) == 3
    assert sum(isinstance(layer, NORMS) for layer in discriminator.modules()) == 3
    assert {layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)} == {0.01}
    assert linears(built(compose, "dcgan_chen2016", (1, 28, 28))[1]) == [(7 * 7 * 128, 1024), (1024, 1)]
    with pytest.raises(UsageError, match="take a multiple of 4"):
        built(compose, "dcgan_chen2016", (1, 30, 28))


def test_infogans_verdict_does_not_pass_the_layer_of_q(compose):
    discriminator = built(compose, "dcgan_chen2016", (1, 8, 8), logits=5)[1].eval()
    x = torch.randn(3, 1, 8, 8)
    before = discriminator(x, labels(3)).logits
    with torch.no_grad():
        discriminator.head.second[0].weight.add_(1)
    after = discriminator(x, labels(3)).logits
    assert torch.equal(before[:, 0], after[:, 0]) and not torch.allclose(before[:, 1:], after[:, 1:])


# ---------------------------------------------------------------- mlp_salimans2016


def test_nets_of_2016_have_their_sizes(compose):
    """100 -> 500 -> 500 -> 784, and 784 -> 1000 -> 500 -> 250 -> 250 -> 250 -> 10 (Salimans et al., section 6.1)."""
    generator, discriminator, latent_dim = built(compose, "mlp_salimans2016", (1, 28, 28), logits=10)
    assert (latent_dim, linears(generator)) == (100, [(100, 500), (500, 500), (500, 784)])
    widths = [784, 1000, 500, 250, 250, 250, 10]
    assert linears(discriminator) == list(zip(widths, widths[1:], strict=False))
    kinds = [type(layer) for layer in generator.body]
    assert kinds[:6] == [nn.Linear, nn.BatchNorm1d, nn.Softplus] * 2
    assert generator.body[-1].squash == "sigmoid"
    stds = [layer.noise for layer in discriminator.modules() if isinstance(layer, mlp_salimans2016.Layer)]
    assert stds == [0.3] + [0.5] * 5


def test_weights_are_normalised_and_only_the_last_layer_learns_their_length():
    """Salimans and Kingma 2016, equation 2: w = g v / |v|; so the slope by v is perpendicular to v."""
    torch.manual_seed(0)
    discriminator = mlp_salimans2016.Discriminator((1, 4, 4), logits=3, hidden=[7, 5])
    layers = [layer for layer in discriminator.modules() if isinstance(layer, mlp_salimans2016.Layer)]
    for layer, length in zip(layers, (1 / math.sqrt(0.07 + 0.09), *[1 / math.sqrt(0.3408 + 0.25)] * 2), strict=True):
        assert torch.allclose(layer.weight.norm(dim=1), torch.full((layer.out_features,), length), rtol=1e-3)
    learnt = [name for name, _ in discriminator.named_parameters() if name.endswith("length")]
    assert learnt == ["head.parametrizations.weight.0.length"]
    loss = discriminator(torch.randn(6, 1, 4, 4), labels(6)).logits.square().sum()
    for layer in layers:
        v = layer.parametrizations.weight.original
        (slope,) = torch.autograd.grad(loss, v, retain_graph=True)
        assert slope.norm() > 0 and (slope * v).sum(dim=1).abs().max() < 1e-4 * slope.norm() * v.norm()
    discriminator.head.parametrizations.weight[0].length.data.fill_(3.0)
    v = discriminator.head.parametrizations.weight.original
    assert torch.allclose(discriminator.head.weight, 3 * v / v.norm(dim=1, keepdim=True))


def test_outputs_of_normalised_weights_have_variance_one():
    """max(0, x) of a standard normal x has variance 1/2 - 1/(2 pi); so have the units of each layer, with their noise.

    Beside it each has a mean of its own, by a random weight vector, which the released code takes off by the bias.
    """
    torch.manual_seed(0)
    net = mlp_salimans2016.Discriminator((1, 20, 20), hidden=[400, 400, 400], logits=400)
    x = (2 * math.sqrt(0.07) * torch.randn(2000, 1, 20, 20)).detach()
    with torch.no_grad():
        for layer in (*net.trunk, net.head):
            x = layer(x)
            if isinstance(layer, nn.Linear):
                assert float(x.var(dim=0).mean()) == pytest.approx(1, abs=0.1)
                x = x - x.mean(dim=0)


def test_noise_is_of_its_standard_deviation_and_of_training_only():
    """Through weight vectors of length g the noise of a layer's input has g times its standard deviation."""
    torch.manual_seed(0)
    layer, x = mlp_salimans2016.Layer(50, 4, noise=0.3), torch.randn(1, 50).expand(20_000, -1)
    clean = x[:1] @ layer.weight.T
    assert torch.allclose(layer(x).mean(dim=0), clean[0], atol=0.02)
    assert torch.allclose(layer(x).std(dim=0), torch.full((4,), 0.3), rtol=0.03)
    assert torch.allclose(layer.eval()(x[:1]), clean, atol=1e-6)
    net = mlp_salimans2016.Discriminator((1, 4, 4), hidden=[30], input_noise=0.0, noise=0.5)
    image = torch.randn(20_000, 1, 4, 4)
    with torch.no_grad():
        one, two = net(image, labels(20_000)), net(image, labels(20_000))
    assert torch.equal(one.features, two.features)  # what is matched is what the last hidden layer says, before noise
    length = float(net.head.weight.detach().norm())
    assert float((one.logits - two.logits).std()) == pytest.approx(0.5 * length * math.sqrt(2), rel=0.03)


def test_d_of_2016_sees_pixels_between_zero_and_one():
    image, points = torch.tensor([[[[-1.0, 0.0, 1.0]]]]), torch.tensor([[-1.0, 0.0, 7.0]])
    assert torch.equal(ToShare((1, 1, 3))(image), torch.tensor([[[[0, 0.5, 1]]]]))
    assert torch.equal(ToShare((3,))(points), points)
    planes = torch.tensor([[[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])  # of two classes
    assert torch.equal(ToShare((1, 1, 3))(torch.cat([image, planes], dim=1))[:, 1:], planes)


def test_spectral_norm_bounds_normalised_weights_too():
    torch.manual_seed(0)
    discriminator = mlp_salimans2016.Discriminator((1, 4, 4), hidden=[7, 5])
    SpectralNorm().rewrite(nn.ModuleDict({"discriminator": discriminator}), None)
    for _ in range(50):
        discriminator(torch.randn(2, 1, 4, 4), labels(2))
    for layer in discriminator.eval().modules():
        if isinstance(layer, nn.Linear):
            assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, rel=1e-3)
