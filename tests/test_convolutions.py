"""Convolutions written out are torch's own, in float64, both ways; and none is written out that should not be."""

from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor

from gantool.commands.assembly import Assembly
from gantool.engine import convolutions
from gantool.engine.compiled import Compiler
from gantool.engine.convolutions import Convolutions
from gantool.engine.state import State
from toys import plain

ATEN = torch.ops.aten
LAYERS = [  # channels of the image and the map, kernel, stride, padding, size of the image: one number, or two
    (3, 64, 4, 2, 1, 16), (1, 16, 4, 2, 1, 28), (1, 16, 4, 2, 1, 7), (2, 16, 2, 2, 0, 7), (1, 30, 4, 4, 0, 10),
    (1, 40, 6, 2, 2, 9), (1, 40, 6, 3, 1, 11), (2, 70, (4, 6), (2, 3), (1, 2), (9, 14)),
    (1, 24, (2, 8), (2, 2), (3, 0), 8),
]  # fmt: skip
NARROW = [  # only images are made anew, out of maps
    (8, 16, 4, 2, 1, 8), (16, 8, 4, 2, 1, 7), (3, 8, 3, 3, 0, 10), (9, 8, (4, 6), (2, 3), (1, 2), (9, 14)),
]  # fmt: skip
OTHERS = [(200, 16, 4, 2, 1, 8), (3, 64, 3, 1, 1, 8), (3, 64, 5, 2, 1, 9), (3, 64, 1, 2, 0, 8)]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(convolutions, "DEVICE", "cpu")


def pair(value: int | tuple[int, int]) -> list[int]:
    return list(value) if isinstance(value, tuple) else [value] * 2


def case(layer, transposed: bool) -> tuple[list[Tensor], list[Tensor], tuple]:
    """The arguments of the layer, those of its gradients but for the last, and how it is done."""
    few, many = layer[:2]
    kernel, stride, padding, size = map(pair, layer[2:])
    how = (stride, padding, [1, 1], transposed, [0, 0], 1)
    torch.manual_seed(0)
    weight = torch.randn(many, few, *kernel, dtype=torch.float64)
    given = torch.randn(2, many if transposed else few, *([5, 4] if transposed else size), dtype=torch.float64)
    bias = torch.randn(few if transposed else many, dtype=torch.float64)
    grad = torch.randn_like(ATEN.convolution(given, weight, bias, *how))
    return [given, weight, bias], [grad, given, weight, list(bias.shape)], how


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_few_channels(layer, transposed):
    forward, backward, how = case(layer, transposed)
    layers = Convolutions()
    torch.testing.assert_close(layers.forward(*forward, *how), ATEN.convolution(*forward, *how))
    forward[2] = None
    torch.testing.assert_close(layers.forward(*forward, *how), ATEN.convolution(*forward, *how))
    for wanted in product([False, True], repeat=3):
        if any(wanted):
            expected = ATEN.convolution_backward(*backward, *how, wanted)
            assert_same(layers.backward(*backward, *how, wanted), expected)


@pytest.mark.parametrize("layer", NARROW)
def test_narrow_images_of_maps(layer):
    forward, backward, how = case(layer, transposed=True)
    torch.testing.assert_close(Convolutions().forward(*forward, *how), ATEN.convolution(*forward, *how))
    assert Convolutions().backward(*backward, *how, (True, True, True)) is NotImplemented
    forward, backward, how = case(layer, transposed=False)
    assert Convolutions().forward(*forward, *how) is NotImplemented
    for others in product([False, True], repeat=2):
        expected = ATEN.convolution_backward(*backward, *how, (True, *others))
        assert_same(Convolutions().backward(*backward, *how, (True, *others)), expected)
    assert Convolutions().backward(*backward, *how, (False, True, True)) is NotImplemented


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("layer", OTHERS)
def test_all_others_are_left(layer, transposed):
    forward, backward, how = case(layer, transposed)
    assert Convolutions().forward(*forward, *how) is NotImplemented
    assert Convolutions().backward(*backward, *how, (True, True, True)) is NotImplemented


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("place", "value"), [(2, [2, 2]), (4, [1, 1]), (5, 2)], ids=["dilation", "output", "groups"])
def test_layers_with_gaps_or_groups_are_left(transposed, place, value):
    forward, backward, how = case((3, 64, 4, 2, 1, 16), transposed)
    how = (*how[:place], value, *how[place + 1 :])
    assert Convolutions().forward(*forward, *how) is NotImplemented
    assert Convolutions().backward(*backward, *how, (True, True, True)) is NotImplemented


def test_sequences_and_empty_batches_are_left():
    how = ([2], [1], [1], False, [0], 1)
    given, weight = torch.zeros(2, 3, 16), torch.zeros(64, 3, 4)
    assert Convolutions().forward(given, weight, None, *how) is NotImplemented
    (given, *rest), _, how = case(LAYERS[0], transposed=False)
    assert Convolutions().forward(given[:0], *rest, *how) is NotImplemented


def test_one_number_is_of_both_directions():
    forward, backward, (_, _, *more) = case(LAYERS[0], transposed=False)
    expected = ATEN.convolution(*forward, [2, 2], [1, 1], *more)
    torch.testing.assert_close(Convolutions().forward(*forward, [2], [1], *more), expected)


def test_on_other_devices_all_are_left(monkeypatch):
    monkeypatch.undo()
    forward, backward, how = case(LAYERS[0], transposed=False)
    assert Convolutions().forward(*forward, *how) is NotImplemented
    assert Convolutions().backward(*backward, *how, (True, True, True)) is NotImplemented


def test_both_ways_of_a_layer_share_the_patches_of_an_image_and_others_do_not(monkeypatch):
    cut, real = [], convolutions._patches
    monkeypatch.setattr(convolutions, "_patches", lambda *args: cut.append(args) or real(*args))
    (image, weight, bias), (grad, *_, sizes), how = case(LAYERS[0], transposed=False)
    layers, weights = Convolutions(), (False, True, False)
    layers.forward(image, weight, bias, *how)
    layers.backward(grad, image, weight, sizes, *how, weights)
    assert len(cut) == 1
    image.mul_(2)
    torch.testing.assert_close(layers.forward(image, weight, bias, *how), ATEN.convolution(image, weight, bias, *how))
    layers.backward(grad, image.clone(), weight, sizes, *how, weights)
    assert len(cut) == 3
    other = ([4, 4], *how[1:])
    grad = grad[:, :, ::2, ::2]
    expected = ATEN.convolution_backward(grad, image, weight, sizes, *other, weights)
    assert_same(layers.backward(grad, image, weight, sizes, *other, weights), expected)


@pytest.mark.parametrize("trick", ["[]", "[gradient_penalty]"])
def test_a_round_of_convolutions_written_out_leads_where_the_plain_one_does(compose, monkeypatch, trick):
    """Through the real nets and a penalty's second order, traced but not compiled."""
    chosen = ("device=cpu", "dataset=shapes", "dataset.size=64", "dataset.resolution=16", "dataset.channels=3")
    nets = ("architecture=dcgan", *(f"architecture.{net}.features=48" for net in ("generator", "discriminator")))
    rest = (f"trick={trick}", "optimizer=sgd", "precision=fp32", "batch_size=4", "compile=off", "logger=[]")
    parts = Assembly(plain(compose(*chosen, *nets, *rest)))
    parts.layers = nullcontext
    state = State(parts.game, {"d": parts.d, "g": parts.g}, parts.meters, torch.device("cpu"))
    monkeypatch.setattr("gantool.engine.compiled.compile_round", interpreted)
    parts.prepare(3)
    parts.step()
    saved = state.copy()
    recorded = Compiler(state)._compiled(parts.round, {}, saved)
    ends = []
    for play in (parts.round, recorded):
        state.put_back(saved)
        play()
        ends.append(state.copy().tensors)
    for name, value in ends[0].items():
        assert float((ends[1][name] - value).double().norm()) <= 1e-5 * float(value.double().norm()) + 1e-7, name


def interpreted(module, tensors, options):
    """Not compiled. Two convolutions of the D and one of the G have images with three channels."""
    assert [str(node.target) for node in module.graph.nodes].count("aten.unfold.default") >= 4
    return lambda: module(*tensors)


def assert_same(found, expected) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)
