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
        grads = list(grads)
        if self.by == "value":
            return torch._foreach_clamp_min(torch._foreach_clamp_max(grads, self.limit), -self.limit)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        return torch._foreach_mul(grads, (self.limit / norm.clamp(min=1e-12)).clamp(max=1.0))
