"""Fakes that come back."""

import torch
from torch import Tensor, nn

from gantool.game.hooks import Trick
from gantool.game.ranges import Count, Share
from gantool.game.surgery import shape_of
from gantool.game.types import Source


class ReplayBuffer(Trick):
    """A `share` of the fakes that D is shown are older ones (Shrivastava et al. 2017, section 2.3).

    Each D turn puts as many of its new fakes in the place of random old ones. Until the buffer is full, places that are
    empty give the turn's own fakes.
    """

    replays = needs_critic = True
    kept: Tensor
    kept_label: Tensor
    filled: Tensor

    def __init__(self, size: Count = 10_000, share: Share = 0.5):
        super().__init__()
        self.size, self.share = size, share

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        self.register_buffer("kept", torch.zeros(self.size, *shape_of(nets)))
        self.register_buffer("kept_label", torch.full((self.size,), -1))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.old = round(self.share * source.batch_size)  # fakes of each batch

    def replay(self, fake: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        new, known = fake[: self.old], label[: self.old]
        place = torch.randint(self.size, (self.old,), device=fake.device)
        there = place < self.filled
        again = torch.where(there.view(-1, *(1 for _ in fake.shape[1:])), self.kept.index_select(0, place), new)
        again_label = torch.where(there, self.kept_label.index_select(0, place), known)
        self._keep(new, known)
        return torch.cat([again, fake[self.old :]]), torch.cat([again_label, label[self.old :]])

    @torch.no_grad()
    def _keep(self, new: Tensor, label: Tensor) -> None:
        """Into the empty places first, then over random ones."""
        count = torch.arange(len(new), device=new.device)
        anywhere = torch.randint(self.size, (len(new),), device=new.device)
        place = torch.where(self.filled + count < self.size, self.filled + count, anywhere)
        self.kept.index_copy_(0, place, new.detach().float())
        self.kept_label.index_copy_(0, place, label)
        self.filled.add_(len(new)).clamp_(max=self.size)
