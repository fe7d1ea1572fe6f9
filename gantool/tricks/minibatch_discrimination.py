"""A discriminator that sees its batch."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.ranges import Count
from gantool.game.surgery import append_features, with_head
from gantool.game.types import Source


class MinibatchDiscrimination(Trick):
    """D's last hidden layer is joined by how close an example is to the others (Salimans et al. 2016, section 3.2)."""

    needs_critic = needs_head = True

    def __init__(self, n_kernels: Count = 100, kernel_dim: Count = 5):
        super().__init__()
        self.n_kernels, self.kernel_dim = n_kernels, kernel_dim

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        discriminator = with_head(nets, "minibatch_discrimination")
        layer = Closeness(discriminator.num_features, self.n_kernels, self.kernel_dim)
        append_features(discriminator, layer, self.n_kernels)


class Closeness(nn.Module):
    """(N, F) -> (N, B): M_i = f(x_i) T in B rows of C numbers; o_b(x_i) = sum_j exp(-|M_ib - M_jb|_1)."""

    by_example = False

    def __init__(self, num_features: int, n_kernels: int, kernel_dim: int):
        super().__init__()
        self.tensor = nn.Parameter(torch.randn(num_features, n_kernels, kernel_dim) / num_features**0.5)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            rows = torch.einsum("nf,fbc->nbc", features.float(), self.tensor)
            apart = (rows[:, None] - rows[None]).abs().sum(dim=3)  # (N, N, B)
            return torch.exp(-apart).sum(dim=1)
