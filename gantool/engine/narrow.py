"""Rows of a result that nobody asks for are not computed.

Where reals and fakes are judged in one pass (Game.losses), G's way back through D is by the rows of the fakes alone;
autograd sends zeros back through the others. So a slice of rows is taken as early as the operations before it allow.
"""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
BY_ELEMENT = (ATEN._to_copy.default, ATEN.leaky_relu_backward.default)  # that are not tagged as such
ZEROS = (ATEN.zeros.default, ATEN.zeros_like.default, ATEN.new_zeros.default)


class Kind(NamedTuple):
    """Of a tensor. Where rows were cut, only the shape is known."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None
    stride: tuple[int, ...] | None = None


def narrow(module: GraphModule, tensors: Sequence[Tensor]) -> None:
    """Of a graph of torch.ops.aten as make_fx leaves it, which is called with such tensors.

    What nobody asks for any longer stays in the graph: the compiler leaves it out.
    """
    slices = module.graph.find_nodes(op="call_function", target=ATEN.slice.Tensor)
    for node in reversed(slices):
        if not node.users:
            module.graph.erase_node(node)
    found = {node: node.meta.get("tensor_meta") for node in module.graph.nodes}
    kinds = {node: Kind(tuple(it.shape), it.dtype, it.stride) for node, it in found.items() if hasattr(it, "shape")}
    given = zip(module.graph.find_nodes(op="placeholder"), tensors, strict=True)
    kinds |= {node: Kind(tuple(tensor.shape), tensor.dtype, tensor.stride()) for node, tensor in given}
    for node in slices:
        source, *which = node.args  # None, ... of what was left out above
        if source in kinds and which[:1] == [0] and len(which) == 3 and None not in which:
            start, end = which[1], min(which[2], kinds[source].shape[0])
            with suppress(RecursionError):  # of what is too deep nothing is cut
                rows = _Rows(kinds, start, end).of(source) if 0 <= start < end else None
                if rows is not None:
                    node.replace_all_uses_with(rows)
    module.recompile()


@dataclass
class _Rows:
    kinds: dict[Any, Kind]
    start: int
    end: int
    found: dict[Node, Node] = field(default_factory=dict)  # what an operation reads twice is computed once

    def of(self, node: Node) -> Node | None:
        """A node that computes no others; None where it would have to, or where they are asked for too.

        It stands where the old one does: later, what that reads may be overwritten.
        """
        if len(node.users) > 1 or not {node, *node.all_input_nodes} <= self.kinds.keys():
            return None
        args: tuple[Any, ...] = node.args
        (height, *rest), target = self.kinds[node].shape, node.target
        high = [isinstance(arg, Node) and self.kinds[arg].shape[:1] == (height,) for arg in args]
        with node.graph.inserting_before(node):
            if target is ATEN.cat.default and len(args) == 1:
                part = self._part(node, args[0])
                return part and self._like(node, ATEN.clone.default, part)
            if target is ATEN.view.default and high[0]:
                return self._like(node, target, self._cut(args[0]), [self.end - self.start, *rest])
            if target is ATEN.mm.default:
                return self._like(node, target, self._cut(args[0]), args[1])
            if _by_element(target):
                dims = [len(self.kinds[arg].shape) if its else 0 for arg, its in zip(args, high, strict=True)]
                mine = [self._cut(arg) if its == 1 + len(rest) else arg for arg, its in zip(args, dims, strict=True)]
                return self._like(node, target, *mine, **node.kwargs)
        return None

    def _cut(self, node: Node) -> Node:
        if node not in self.found:
            self.found[node] = self.of(node) or self._like(node, ATEN.slice.Tensor, node, 0, self.start, self.end)
        return self.found[node]

    def _like(self, node: Node, target: Any, *args: Any, **options: Any) -> Node:
        made = node.graph.call_function(target, args, options)
        self.kinds[made] = Kind((self.end - self.start, *self.kinds[node].shape[1:]))
        return made

    def _part(self, whole: Node, parts: Sequence[Node]) -> Node | None:
        """The one that has just these rows, as they are in the whole, where the others are but zeros."""
        ends = list(itertools.accumulate(self.kinds[part].shape[0] for part in parts))
        spans = zip([0, *ends], ends, parts, strict=False)
        for part in (part for *span, part in spans if span == [self.start, self.end]):
            if self.kinds[part][1:] == self.kinds[whole][1:]:
                return part if all(other is part or other.target in ZEROS for other in parts) else None
        return None


def _by_element(target: Any) -> bool:
    is_operation = isinstance(target, torch._ops.OpOverload) and not target._schema.is_mutable
    return is_operation and (target in BY_ELEMENT or torch.Tag.pointwise in target.tags)
