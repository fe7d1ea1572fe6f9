"""A round as a list of operations on tensors: what it computes, without the Python that led to it.

What Python decided while the round was traced is decided for good, as in a CUDA graph.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from gantool.engine.rounds import Play


def traced(
    play: Play, tensors: Sequence[Tensor], instead: Mapping[Any, Callable] | None = None
) -> tuple[GraphModule, list[Tensor]]:
    """Plays a round and returns its operations, and the tensors that they are to be called with.

    `tensors` are those that it may change, once each; whatever else it reads joins them. `instead`: functions to trace
    in the place of an operation.
    """
    with torch.autograd.set_multithreading_enabled(False):  # the backward pass is seen in this thread

        def played(*_: Tensor) -> tuple[()]:
            play()
            return ()

        module = make_fx(played, decomposition_table=dict(instead or {}))(*tensors)
    for node in module.graph.find_nodes(op="placeholder"):
        node.meta.clear()  # values of the trace, which torch's C++ wrappers would take for the caller's
    return module, [*tensors, *_lifted(module)]


def _lifted(module: GraphModule) -> list[Tensor]:
    """Tensors that were found on the way become arguments: their values may change from outside."""
    found: dict[str, tuple[Node, Tensor]] = {}
    last = [node for node in module.graph.nodes if node.op == "placeholder"][-1]
    for node in module.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name not in found:
            with module.graph.inserting_after(last):
                last = module.graph.placeholder(f"found_{len(found)}")
            found[name] = last, getattr(module, name)
        node.replace_all_uses_with(found[name][0])
        module.graph.erase_node(node)
    module.recompile()
    return [tensor for _, tensor in found.values()]
