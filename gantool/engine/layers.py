"""What the hidden layers of a discriminator make of examples."""

from typing import Any

from torch import Tensor, nn

WEIGHTS = (nn.Linear, nn.Conv2d)


def hidden(discriminator: Any, image: Tensor, label: Tensor) -> list[Tensor]:
    """(N, *data shape), (N,) -> each hidden layer, maps (N, C, H, W) or (N, F), from the first to the last.

    A hidden layer is what the next layer, or the head, multiplies by its weights: normalised and activated.
    """
    seen: list[Tensor] = []
    layers = [layer for layer in discriminator.trunk.modules() if isinstance(layer, (*WEIGHTS, nn.Flatten))]

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if seen or isinstance(layer, WEIGHTS):
            seen.append(inputs[0][-len(image) :])  # in front of them may be a reference batch

    hooks = [layer.register_forward_pre_hook(see) for layer in layers]
    try:
        seen.append(discriminator(image, label).features)
    finally:
        for hook in hooks:
            hook.remove()
    return [after for before, after in zip(seen, seen[1:], strict=False) if not _flattened(before, after)]


def _flattened(before: Tensor, after: Tensor) -> bool:
    """Is it the same layer, which was a map before?"""
    return before.dim() == 4 and after.dim() == 2 and before.numel() == after.numel()
