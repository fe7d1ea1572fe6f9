"""Products of matrices on a CPU, written out as what is faster there than the library's kernels for them.

oneDNN and its like pack the second factor before they multiply: of a layer's input and its weight the smaller one is to
be it. Packing pays for no product that is but a sum of rows, or a table of products of two numbers.

Only for compiled rounds, in which sums, transpositions and biases join the loops around them.
"""

import torch
from torch import Tensor

ATEN = torch.ops.aten
DEVICE = "cpu"


def product(one: Tensor, other: Tensor) -> Tensor:
    """In the place of aten.mm, (N, K), (K, M) -> (N, M); NotImplemented where its own kernels are as fast."""
    (n, k), m = one.shape, other.shape[1]
    if one.device.type != DEVICE or not one.is_floating_point():
        return NotImplemented
    if k == 1:
        return one * other
    wide = torch.promote_types(one.dtype, torch.float32)
    if m == 1:
        return (one.to(wide) * other.to(wide).t()).sum(1, keepdim=True).to(one.dtype)
    if n == 1:
        return (one.to(wide).t() * other.to(wide)).sum(0, keepdim=True).to(one.dtype)
    if n < m and one.is_contiguous() and other.t().is_contiguous():
        return ATEN.mm(other.t(), one.t()).t().contiguous()
    return NotImplemented


def linear(bias: Tensor, given: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """In the place of aten.addmm, (M,), (N, K), (K, M) -> (N, M): the bias joins what comes after."""
    if given.device.type != DEVICE or bias.dim() != 1 or (beta, alpha) != (1, 1):
        return NotImplemented
    return ATEN.mm(given, weight) + bias
