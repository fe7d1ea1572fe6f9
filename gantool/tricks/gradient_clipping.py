"""Gradients of bounded size."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gantool.game.hooks import Trick
from gantool.game.ranges import Positive


class GradientClipping(Trick):
    """Before each step of either player (Pascanu, Mikolov and Bengio 2013, algorithm 1).

    norm: all gradients are scaled by one factor so that their joint Euclidean norm is at most `limit`;
    value: each number of them is clamped to [-limit, limit].
    """

    def __init__(self, limit: Positive = 1.0, by: Literal["norm", "value"] = "norm"):
        super().__init__()
        self.limit, self.by = limit, by

    def gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.by == "value":
            return [grad.clamp(-self.limit, self.limit) for grad in grads]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
        scale = (self.limit / norm.clamp(min=1e-12)).clamp(max=1.0)
        return [grad * scale for grad in grads]  # not by _foreach_mul: torch cannot always differentiate that
