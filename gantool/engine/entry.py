"""Compiling, and calling what was compiled past the Python that torch puts around it.

On a CPU that Python takes a quarter of a millisecond in each call, since the caches are cold: some percent of a step of
an MLP. A round hands over the same tensors each time and returns nothing, so all of it can be left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule


def compile_round(module: GraphModule, tensors: Sequence[Tensor], options: dict[str, Any]) -> Callable[[], object]:
    """A round's operations as compiled code, which is run once on the tensors as they are, to see how it is called."""
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    graphs: list[Any] = []

    def inner(*args: Any, **kwargs: Any) -> Any:
        graphs.append(compile_fx_inner(*args, **kwargs))
        return graphs[-1]

    run: Any = compile_fx(module, [*tensors], inner_compile=inner, config_patches=options)
    entry = _entry(graphs[0]) if len(graphs) == 1 else None
    handed = _handed(graphs[0], run, tensors) if entry else None
    if entry is None or handed is None:
        return lambda: run(*tensors)
    handles = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors  # of one call each, which takes them
    return lambda: entry(handles(handed))


def _entry(graph: Any) -> Callable[[list], list] | None:
    """The compiled function behind torch's C++ wrapper, whose Python makes handles of tensors and calls it.

    None where the wrapper is not that, or adds constants to what it is given.
    """
    wrapper: Any = getattr(graph, "current_callable", None)
    ours = getattr(wrapper, "__qualname__", "") == "_wrap_func.<locals>.g" and wrapper.__code__.co_freevars == ("f",)
    if not ours or getattr(graph, "constants", True):
        return None
    return wrapper.__closure__[0].cell_contents


def _handed(graph: Any, run: Callable, tensors: Sequence[Tensor]) -> list[Tensor] | None:
    """What the compiled function is called with; None where it is not only ours, or something is returned."""
    wrapper, seen, returned = graph.current_callable, list[Any](), list[Any]()

    def watched(args: list[Any]) -> Any:
        seen.extend(args)
        returned.extend(wrapper(args))
        return returned

    graph.current_callable = watched
    try:
        run(*tensors)
    finally:
        graph.current_callable = wrapper
    ours = {id(tensor) for tensor in tensors}
    return seen if not returned and all(id(one) in ours for one in seen) else None
