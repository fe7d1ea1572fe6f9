"""Layers written out for rounds on a CPU are torch's own, in float64 to the second order; no other layer is touched."""

from collections import Counter
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.utils.parametrizations import spectral_norm

from gantool.commands.assembly import Assembly
from gantool.commands.subject import Gantool
from gantool.engine import eager_convolutions, sub_pixel, winograd
from gantool.engine.eager_convolutions import Written, faster_layers
from gantool.measure.machine import Flops
from toys import plain

CPU = torch.device("cpu")
SUB_PIXEL = [  # channels of the image, kernel, stride, padding, size of the image
    (3, 4, 2, 1, (16, 12)), (1, 4, 2, 1, (9, 14)), (8, (4, 6), (2, 3), (1, 2), (9, 14)), (2, 3, 3, 0, (9, 13)),
]  # fmt: skip
WIDE = [(10, 4, 2, 1, (16, 12)), (10, 4, 2, 1, (4, 8)), (9, (4, 4), (2, 2), (1, 1), (8, 8))]
OTHERS = [(10, 4, 2, 1, (14, 16)), (10, 4, 2, 1, (16, 10)), (10, 4, 2, 0, (16, 16)), (10, 4, 4, 1, (16, 16)),
          (10, 3, 3, 0, (9, 9)), (3, 3, 1, 1, (8, 8)), (3, 5, 2, 2, (8, 8))]  # fmt: skip


@pytest.fixture
def narrower(monkeypatch):
    """What is for many channels in bfloat16 takes few and float64, on any CPU."""
    for module, name, value in (
        (winograd, "WIDE", 9), (winograd, "MANY", 1), (eager_convolutions, "SHORT", torch.float64),
        (eager_convolutions, "multiplies_vectors_only", lambda: True),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def case(layer, transposed: bool, bias: bool, dtype: torch.dtype = torch.float64, maps: int = 16) -> list[Tensor]:
    channels, kernel, stride, padding, size = layer
    torch.manual_seed(0)
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    made = conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel), None, stride, padding)
    given = torch.randn(3, *((maps, *made.shape[2:]) if transposed else (channels, *size)), dtype=dtype)
    weight = torch.randn(maps, channels, *kernel, dtype=dtype)
    more = [torch.randn(channels if transposed else maps, dtype=dtype)] if bias else []
    return [given.requires_grad_(), weight.requires_grad_(), *(each.requires_grad_() for each in more)]


def played(layer, transposed: bool, operands: list[Tensor], on=nullcontext) -> tuple[Tensor, list[Tensor]]:
    """What a layer makes; that, its gradients and those of their squares."""
    with on():
        function = conv_transpose2d if transposed else conv2d
        made = function(*operands[:2], operands[2] if len(operands) > 2 else None, *layer[2:4])
        first = grad(made.sin().sum(), operands, create_graph=True)
        return made, [made, *first, *grad(sum(each.square().sum() for each in first), operands)]


def is_written(made: Tensor) -> bool:
    assert made.grad_fn is not None
    return "Convolution" not in type(made.grad_fn).__name__


@pytest.mark.parametrize("layer", SUB_PIXEL + WIDE)
@pytest.mark.parametrize(("transposed", "bias"), list(product([False, True], repeat=2)))
def test_a_layer_and_its_gradients(narrower, layer, transposed, bias):
    operands = case(layer, transposed, bias)
    made, found = played(layer, transposed, operands, Written)
    assert is_written(made) and made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, played(layer, transposed, operands)[1])


@pytest.mark.parametrize("layer", OTHERS)
@pytest.mark.parametrize("transposed", [False, True])
def test_all_others_are_left(narrower, layer, transposed):
    assert not is_written(played(layer, transposed, case(layer, transposed, bias=True), Written)[0])


@pytest.mark.parametrize("more", [{"dilation": 2}, {"groups": 2}, {"padding": "valid"}, {"stride": 1}])
def test_layers_with_gaps_groups_or_words_are_left(more):
    image, weight = torch.randn(2, 4, 16, 16, requires_grad=True), torch.randn(16, 4 // more.get("groups", 1), 4, 4)
    with Written():
        assert not is_written(conv2d(image, weight, **({"stride": 2, "padding": 1} | more)))
        assert not is_written(conv_transpose2d(torch.randn(2, 16, 5, 5), weight.requires_grad_(), None, 2, 1, 1))


@pytest.mark.parametrize("directions", [{"stride": (2,), "padding": [1]}, {"stride": 2, "padding": (1, 1)}])
def test_ways_to_call(directions):
    """As torch takes them; and what it does not take, it refuses itself."""
    image, weight = case(SUB_PIXEL[0], transposed=False, bias=False)
    expected = conv2d(image, weight, **directions)
    with Written():
        found = conv2d(input=image, weight=weight, bias=None, **directions)
        assert is_written(conv_transpose2d(input=found, weight=weight, **directions))
        for wrong in ({"stride": (2, 2, 2)}, {"stride": 2, "padding": -1}, {"stride": "2"}):
            with pytest.raises((RuntimeError, TypeError)):
                conv2d(image, weight, **wrong)
        with pytest.raises(RuntimeError):
            conv_transpose2d(torch.randn(1, 16, 1, 1, dtype=torch.float64), weight, None, 2, 2)
        with pytest.raises(RuntimeError):
            conv2d(image, weight.float(), None, 2, 1)
        with pytest.raises(RuntimeError, match="to have 3 channels, but got 2 channels"):
            conv2d(image[:, 1:], weight, None, 2, 1)
        with pytest.raises(RuntimeError, match="bias"):
            conv2d(image, weight, torch.zeros(1, dtype=torch.float64), 2, 1)
    torch.testing.assert_close(found, expected)


def test_sequences_and_empty_batches_are_left():
    weight = torch.randn(16, 3, 4, 4, requires_grad=True)
    with Written():
        assert conv2d(torch.randn(3, 8, 8, requires_grad=True), weight, None, 2, 1).shape == (16, 4, 4)
        assert conv2d(torch.randn(0, 3, 8, 8, requires_grad=True), weight, None, 2, 1).shape == (0, 16, 4, 4)


def test_autocast_leaves_float64():
    image, weight = case(SUB_PIXEL[0], transposed=False, bias=False)
    with torch.autocast("cpu", torch.bfloat16), Written():
        assert conv2d(image, weight, None, 2, 1).dtype == torch.float64
        assert conv2d(image.float(), weight.float(), None, 2, 1).dtype == torch.bfloat16


def test_functions_of_functions_are_left():
    image, weight = case(SUB_PIXEL[0], transposed=False, bias=False)

    def loss(image: Tensor) -> Tensor:
        return conv2d(image, weight, None, 2, 1).flatten(1).square().sum()

    with Written():
        found = torch.func.grad(loss)(image)
        torch.testing.assert_close(found, grad(loss(image), image)[0])


@pytest.mark.parametrize(
    "name, value", [("SHORT", torch.bfloat16), ("multiplies_vectors_only", lambda: False)], ids=["fp32", "amx"]
)
def test_fewer_products_are_for_short_numbers_and_vectors(narrower, monkeypatch, name, value):
    monkeypatch.setattr(eager_convolutions, name, value)
    assert not is_written(played(WIDE[0], False, case(WIDE[0], False, False), Written)[0])
    assert is_written(played(SUB_PIXEL[0], False, case(SUB_PIXEL[0], False, False), Written)[0])


def test_an_image_that_nothing_is_made_of_on_the_way_back_is_left():
    image, weight = case(SUB_PIXEL[0], transposed=False, bias=False)
    with Written():
        assert not is_written(conv2d(image.detach(), weight, None, 2, 1))
        assert is_written(conv_transpose2d(case(SUB_PIXEL[0], True, False)[0].detach(), weight, None, 2, 1))


@pytest.mark.parametrize("transposed", [False, True])
def test_rounding_of_short_numbers(monkeypatch, transposed):
    """Not five times as far from the exact results as torch's own."""
    monkeypatch.setattr(eager_convolutions, "multiplies_vectors_only", lambda: True)
    operands = case((128, 4, 2, 1, (32, 32)), transposed, True, torch.float32, maps=160)
    operands = [each.detach().bfloat16().float().requires_grad_() for each in operands]
    function = conv_transpose2d if transposed else conv2d
    ways = []
    for on, numbers in ((nullcontext, torch.float64), (nullcontext, torch.bfloat16), (Written, torch.bfloat16)):
        given = operands if numbers == torch.bfloat16 else [each.double() for each in operands]
        with torch.autocast("cpu", torch.bfloat16, enabled=numbers == torch.bfloat16), on():
            made = function(*given, 2, 1)
        assert is_written(made) == (on is Written) and made.dtype == numbers
        back = torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(numbers)
        ways.append([made, *grad(made, operands, back)])
    assert ways[2][1].dtype == torch.float32
    for exact, own, found in zip(*ways, strict=True):
        assert (found - exact).norm() < 5 * (own - exact).norm()


def test_maps_are_channels_last_on_both_sides_of_linear_layers():
    image = torch.randn(2, 6, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []
    with Written():
        doubled = 2 * image
        doubled.register_hook(seen.append)
        flat = nn.Flatten()(doubled)
        made = nn.Unflatten(1, (6, 4, 4))(flat)
    (3 * flat).sum().backward()
    torch.testing.assert_close(flat, 2 * image.flatten(1))
    torch.testing.assert_close(made, 2 * image)
    torch.testing.assert_close(image.grad, torch.full_like(image, 6.0))
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in (made, image.grad))
    with Written():
        assert nn.Unflatten(1, (2, 3))(torch.zeros(2, 6)).shape == (2, 2, 3)
        assert torch.zeros(2, 6).flatten(start_dim=0, end_dim=1).shape == (12,)
        heads = torch.zeros(2, 3, 8)  # of attention: a view
        heads.unflatten(2, (2, 4)).add_(1)
        assert heads.sum() == 48


def test_no_hook_stays_with_a_weight():
    """Spectral norm flattens them."""
    layer = spectral_norm(nn.Conv2d(3, 16, 4, 2, 1)).to(memory_format=torch.channels_last)
    with Written():
        layer(torch.randn(2, 3, 8, 8)).sum().backward()
    assert not layer.parametrizations.weight.original._backward_hooks


def test_where_layers_are_written_out():
    nets = nn.ModuleList([nn.Linear(2, 2), nn.Conv2d(2, 2, 3)])
    assert faster_layers(nets, CPU, compiled=False) is Written
    assert faster_layers(nets[:1], CPU, compiled=False) is nullcontext
    assert faster_layers(nets, CPU, compiled=True) is nullcontext
    assert faster_layers(nets, torch.device("cuda"), compiled=False) is nullcontext


IMAGES = ("device=cpu", "dataset=shapes", "dataset.size=64", "dataset.resolution=16", "dataset.channels=3",
          "architecture=dcgan", "architecture.generator.features=12", "architecture.discriminator.features=12",
          "precision=fp32", "batch_size=4", "compile=off", "logger=[]")  # fmt: skip


@pytest.fixture
def narrower_nets(narrower, monkeypatch):
    monkeypatch.setattr(eager_convolutions, "SHORT", torch.float32)


def test_operations_that_layers_save_are_counted(compose, narrower_nets):
    """As torch counts them where no layer is written out."""
    subject = Gantool(plain(compose(*IMAGES)))
    found = subject.flops()
    with Flops() as saved:
        subject._eager()
    subject.parts.layers = nullcontext
    with Flops() as counter:
        subject._eager()
    assert saved.total < counter.total == found


@pytest.mark.parametrize("asked", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize(("layer", "transposed"), [(SUB_PIXEL[0], False), (WIDE[0], True)])
def test_only_gradients_that_are_asked_for_are_made(narrower, monkeypatch, layer, transposed, asked):
    operands, made = case(layer, transposed, bias=True), []
    of_function = eager_convolutions._Third.forward
    monkeypatch.setattr(
        eager_convolutions._Third, "forward", lambda ctx, *args: made.append(args[1]) or of_function(ctx, *args)
    )
    with Written():
        loss = (conv_transpose2d if transposed else conv2d)(*operands, 2, 1).sin().sum()
        made.clear()
        grad(loss, [operands[i] for i in asked], retain_graph=True)
        given = sub_pixel.MAP if transposed else sub_pixel.IMAGE
        assert set(made) == {(given, sub_pixel.WEIGHT)[i] for i in asked if i < 2}
        made.clear()
        loss.backward()
    assert set(made) == {given, sub_pixel.WEIGHT}


def test_no_gradient_is_wasted_in_a_round(compose, narrower_nets, monkeypatch):
    """D has a layer of 3 channels and a wide one, G as well.

    D's turn: G makes two images; of reals and fakes the wide layer makes a map, its image and its weight (the narrow
    one is torch's own there). G's turn: D makes two maps and two images, and no weight; G two maps and two weights.
    """
    parts, made = Assembly(plain(compose(*IMAGES, "update.shared_fakes=true"))), []
    of_function = eager_convolutions._Third.forward
    monkeypatch.setattr(
        eager_convolutions._Third, "forward", lambda ctx, *args: made.append(args[1]) or of_function(ctx, *args)
    )
    parts.prepare(1)
    parts.step()
    counts = Counter(made)
    assert counts == {sub_pixel.IMAGE: 2 + 2 + 2, sub_pixel.MAP: 2 + 2 + 2, sub_pixel.WEIGHT: 2 + 2}


@pytest.mark.parametrize("trick", ["[]", "[gradient_penalty]", "[spectral_norm]"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_round_leads_where_the_plain_one_does(compose, monkeypatch, narrower_nets, trick, shared):
    """Through the real nets and a penalty's second order, in float32."""
    ends, written = [], []
    third = eager_convolutions._Third.apply
    monkeypatch.setattr(eager_convolutions._Third, "apply", lambda *args: written.append(args[0]) or third(*args))
    for layers in (nullcontext, Written):
        chosen = (f"trick={trick}", f"update.shared_fakes={shared}", "optimizer=sgd")
        parts = Assembly(plain(compose(*IMAGES, *chosen)))
        parts.layers = layers
        parts.prepare(2)
        for _ in range(2):
            parts.step()
        ends.append({name: value.clone() for name, value in parts.game.state_dict().items()})
        assert bool(written) == (layers is Written)
    assert {type(way).__name__ for way in written} == {"SubPixel", "Winograd"}
    for name, value in ends[0].items():
        assert float((ends[1][name] - value).double().norm()) <= 1e-5 * float(value.double().norm()) + 1e-7, name
