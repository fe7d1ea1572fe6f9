"""Fakes that come back."""

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Trick
from gantool.game.ranges import Count, Share
from gantool.game.surgery import shape_of
from gantool.game.types import Source


class ReplayBuffer(Trick):
    """A `share` of the fakes that D is shown come from a buffer of older ones (Shrivastava et al. 2017, section 2.3).

    The new fakes whose place they take are kept: in empty places of the buffer first, then in random ones.
    """

    replays = needs_critic = True
    kept: Tensor
    kept_label: Tensor
    filled: Tensor

    def __init__(self, size: Count = 2000, share: Share = 0.5):
        super().__init__()
        self.size, self.share = size, share

    def rewrite(self, nets: nn.ModuleDict, source: Source) -> None:
        self.old = round(self.share * source.batch_size)  # fakes of each batch
        if self.old > self.size:
            raise UsageError(
                f"trick.replay_buffer.size={self.size} has no room for the {self.old} fakes that are kept of "
                "each batch: give a larger one"
            )
        self.register_buffer("kept", torch.zeros(self.size, *shape_of(nets)))
        self.register_buffer("kept_label", torch.full((self.size,), -1))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def replay(self, fake: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        new, new_label = fake[: self.old], label[: self.old]
        drawn = (torch.rand(self.old, device=fake.device) * self.filled).long()
        any_kept = self.filled > 0
        again = torch.where(any_kept, self.kept.index_select(0, drawn), new)
        again_label = torch.where(any_kept, self.kept_label.index_select(0, drawn), new_label)
        return torch.cat([again, fake[self.old :]]), torch.cat([again_label, label[self.old :]])

    @torch.no_grad()
    def keep(self, fake: Tensor, label: Tensor) -> None:
        """Each in a place of its own: two in one would leave it to chance whose label goes with whose image."""
        new, new_label = fake[: self.old], label[: self.old]
        empty = (self.filled + torch.arange(self.old, device=new.device)) % self.size
        anywhere = torch.rand(self.size, device=new.device).topk(self.old).indices
        place = torch.where(self.filled < self.size, empty, anywhere)
        self.kept.index_copy_(0, place, new.detach())
        self.kept_label.index_copy_(0, place, new_label)
        self.filled.add_(self.old).clamp_(max=self.size)
