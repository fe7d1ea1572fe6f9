"""Compiled code is entered past torch's Python where that does nothing for a round; else it is called as usual."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._inductor.output_code import CompiledFxGraph
from torch.fx import GraphModule

from gantool.engine.compiled import MORE, OPTIONS
from gantool.engine.entry import _entry, _handed, compile_round
from gantool.engine.trace import traced

BOLD = OPTIONS | MORE["cpu"][0]


def decay() -> tuple[GraphModule, list[Tensor], Tensor, Tensor]:
    """A round that halves a weight and adds what it is given."""
    weight, given = torch.full((3, 4), 8.0), torch.arange(4.0)

    def play() -> None:
        weight.mul_(0.5).add_(given)

    return *traced(play, [weight]), weight, given


def refused(*_: object) -> None:
    raise AssertionError("torch's own Python was entered")


def test_what_was_compiled_is_entered_directly(monkeypatch: pytest.MonkeyPatch):
    module, tensors, weight, given = decay()
    run = compile_round(module, tensors, BOLD)
    monkeypatch.setattr(CompiledFxGraph, "__call__", refused)
    for _ in range(50):
        weight.fill_(8)
        given.copy_(torch.rand(4))
        run()
        torch.testing.assert_close(weight, (4 + given).expand(3, 4), rtol=0, atol=0)


def test_elsewhere_it_is_called_as_torch_has_it():
    module, tensors, weight, given = decay()
    run = compile_round(module, tensors, OPTIONS | MORE["cpu"][1])
    weight.fill_(8)
    run()
    torch.testing.assert_close(weight, (4 + given).expand(3, 4), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("called_with", "returned", "short"),
    [
        (lambda ours: ours[::-1], [], True),
        (lambda ours: [*ours, ours[0]], [], True),
        (lambda ours: [ours[0].clone()], [], False),
        (lambda ours: ours, [torch.zeros(1)], False),
    ],
)
def test_nothing_is_left_out_that_torch_does_for_a_round(called_with: Callable, returned: list[Tensor], short: bool):
    """Copies of what it is given, as of tensors that share memory, or results that it puts in their place."""
    graph = SimpleNamespace(current_callable=lambda args: returned)
    ours = [torch.zeros(2), torch.ones(2)]
    wrapper = graph.current_callable
    handed = _handed(graph, lambda *tensors: graph.current_callable(called_with(list(tensors))), ours)
    assert graph.current_callable is wrapper
    assert (handed is not None) == short
    if handed is not None:
        assert [id(one) for one in handed] == [id(one) for one in called_with(ours)]


def _wrap_func(f: Callable) -> Callable:
    """As torch generates it."""

    def g(args: list) -> list:
        return f(args)

    return g


def test_constants_are_torch_s_to_hand_over():
    function = lambda handles: []  # noqa: E731
    assert _entry(SimpleNamespace(current_callable=_wrap_func(function), constants={})) is function
    for other in ({"constants": {"constant0": torch.zeros(4)}}, {}, {"constants": {}, "current_callable": function}):
        assert _entry(SimpleNamespace(**{"current_callable": _wrap_func(function)} | other)) is None
