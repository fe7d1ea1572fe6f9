"""Rows of a result that nobody asks for are not computed.

Where reals and fakes are judged in one pass (Game.losses), G's way back through D is by the rows of the fakes alone;
autograd sends zeros back through the others. So a slice of rows is taken as early as the operations before it allow.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
BY_ELEMENT = (ATEN._to_copy.default, ATEN.leaky_relu_backward.default)  # that are not tagged as such
Shapes = dict[Any, tuple[int, ...]]  # of the tensors that are known


def narrow(module: GraphModule, tensors: Sequence[Tensor]) -> None:
    """Of a graph of torch.ops.aten as make_fx leaves it, which is called with such tensors.

    What nobody asks for any longer is left to the compiler, which knows what may be left out: no random numbers.
    """
    slices = module.graph.find_nodes(op="call_function", target=ATEN.slice.Tensor)
    for node in slices:
        if not node.users:
            module.graph.erase_node(node)
    found = {node: node.meta.get("tensor_meta") for node in module.graph.nodes}
    found |= dict(zip(module.graph.find_nodes(op="placeholder"), tensors, strict=True))
    shapes: Shapes = {node: tuple(tensor.shape) for node, tensor in found.items() if hasattr(tensor, "shape")}
    for node in slices:
        source, *which = node.args  # None, ... of what was left out above
        if source in shapes and which[:1] == [0] and len(which) == 3 and None not in which:
            start, end = which[1], min(which[2], shapes[source][0])
            rows = _Rows(shapes, start, end).of(source) if 0 <= start < end else None
            if rows is not None:
                node.replace_all_uses_with(rows)
    module.recompile()


class _Rows(NamedTuple):
    shapes: Shapes
    start: int
    end: int

    def of(self, node: Node) -> Node | None:
        """A node that computes no others; None where it would have to, or where they are asked for too.

        It stands where the old one does: later, what that reads may be overwritten.
        """
        if len(node.users) > 1 or not {node, *node.all_input_nodes} <= self.shapes.keys():
            return None
        args: tuple[Any, ...] = node.args
        (height, *rest), target = self.shapes[node], node.target
        high = [isinstance(arg, Node) and self.shapes[arg][:1] == (height,) for arg in args]
        with node.graph.inserting_before(node):
            if target is ATEN.cat.default and len(args) == 1:
                part = self._span(args[0])
                return part and self._like(node, ATEN.clone.default, part)
            if target is ATEN.view.default and high[0]:
                return self._like(node, target, self._cut(args[0]), [self.end - self.start, *rest])
            if target is ATEN.mm.default:
                return self._like(node, target, self._cut(args[0]), args[1])
            if _by_element(target):
                cut = [its and len(self.shapes[arg]) == 1 + len(rest) for arg, its in zip(args, high, strict=True)]
                mine = [self._cut(arg) if its else arg for arg, its in zip(args, cut, strict=True)]
                return self._like(node, target, *mine, **node.kwargs)
        return None

    def _cut(self, node: Node) -> Node:
        return self.of(node) or self._like(node, ATEN.slice.Tensor, node, 0, self.start, self.end)

    def _like(self, node: Node, target: Any, *args: Any, **options: Any) -> Node:
        made = node.graph.call_function(target, args, options)
        self.shapes[made] = (self.end - self.start, *self.shapes[node][1:])
        return made

    def _span(self, parts: Sequence[Node]) -> Node | None:
        """The one that has just these rows."""
        ends = list(itertools.accumulate(self.shapes[part][0] for part in parts))
        spans = zip([0, *ends], ends, parts, strict=False)
        return next((part for *span, part in spans if span == [self.start, self.end]), None)


def _by_element(target: Any) -> bool:
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    drawn = torch.Tag.nondeterministic_seeded in target.tags
    return target in BY_ELEMENT or (torch.Tag.pointwise in target.tags and not drawn)
