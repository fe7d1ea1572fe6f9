"""A dataset that lives on the device, and the prior: batches without the host."""

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.images import to_float
from gantool.game.types import Images, Prior


class DeviceSource(nn.Module):
    """Draws without replacement, epoch after epoch, from an order that the host writes ahead once a tick.

    The order of epoch e is a function of the seed and e alone, so the number of examples drawn is all there is to save.
    With weights, an epoch of M draws holds each example M times its weight, rounded up or down at random.
    """

    drawn: Tensor
    pixels: Tensor
    labels: Tensor
    known: Tensor
    order: Tensor
    base: Tensor
    offsets: Tensor
    cumulative: Tensor | None  # (examples with a label,) of their weights; None = all alike

    def __init__(
        self, images: Images, prior: Prior, latent_dim: int, batch_size: int, seed: int = 0, flip: bool = False
    ):
        super().__init__()
        self.size = size = len(images.pixels)
        if batch_size > size:
            raise UsageError(
                f"batch_size={batch_size} is larger than the dataset, which has {size} examples: give a smaller one"
            )
        self.batch_size, self.num_classes, self.latent_dim = batch_size, images.num_classes, latent_dim
        self.prior, self.seed, self.flip = prior, seed, flip and images.pixels.dim() == 4
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))  # examples drawn since the run began
        for name, value in (
            ("pixels", images.pixels),
            ("labels", images.labels),
            ("known", (images.labels >= 0).nonzero().squeeze(1)),  # indices of the examples that have a label
            ("offsets", torch.arange(batch_size)),
            ("order", torch.zeros(batch_size, dtype=torch.int64)),  # indices of the examples to come
            ("base", torch.zeros((), dtype=torch.int64)),  # value of `drawn` at order[0]
        ):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("cumulative", None, persistent=False)
        self.weights: Tensor | None = None
        self._epoch: tuple[int, Tensor] | None = None

    def weigh(self, weights: Tensor | None) -> None:
        """From now on examples are drawn by these weights (M,) on the CPU, which sum to 1; None = all alike."""
        self.weights, self.cumulative, self._epoch = weights, None, None
        if weights is not None:
            total = weights[self.known.cpu()].double().cumsum(0)
            if len(total) and total[-1] > 0:
                self.cumulative = (total / total[-1]).float().to(self.known.device)

    def reserve(self, batches: int) -> None:
        """Room for the batches that are drawn between two calls of `prepare`; before any step is captured."""
        self.order = torch.zeros(batches * self.batch_size, dtype=torch.int64, device=self.drawn.device)

    def prepare(self, batches: int) -> None:
        """Writes the order of the coming batches. Host work: once a tick, never within a step."""
        start = int(self.drawn.item())
        wanted = batches * self.batch_size
        parts, position = [], start
        while position < start + wanted:
            epoch, offset = divmod(position, self.size)
            parts.append(self._order(epoch)[offset : offset + start + wanted - position])
            position += len(parts[-1])
        self.order[:wanted].copy_(torch.cat(parts))
        self.base.fill_(start)

    def _order(self, epoch: int) -> Tensor:
        """(M,) the examples of an epoch in turn."""
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator)
            if self.weights is not None:
                order = systematic(self.weights, generator).index_select(0, order)
            self._epoch = (epoch, order)
        return self._epoch[1]

    def reals(self) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [-1, 1] or points (N, P), and labels (N,)."""
        index = self.order.index_select(0, self.drawn - self.base + self.offsets)
        self.drawn += self.batch_size
        return self.shown(index)

    def labelled(self) -> tuple[Tensor, Tensor]:
        """The same, drawn with replacement from the examples whose label is known."""
        return self.shown(self._pick())

    def reference(self) -> tuple[Tensor, Tensor]:
        """N evenly spaced examples of the set."""
        return self.shown(self.offsets * (len(self.pixels) // self.batch_size))

    def shown(self, index: Tensor) -> tuple[Tensor, Tensor]:
        image = to_float(self.pixels.index_select(0, index))
        if self.flip:
            mirrored = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
            image = torch.where(mirrored, image.flip(3), image)
        return image, self.labels.index_select(0, index)

    def latents(self) -> tuple[Tensor, Tensor]:
        """Latents (N, Z) and labels (N,) with the frequencies of the known ones; -1 where there are none."""
        device = self.labels.device
        latent = self.prior(self.batch_size, self.latent_dim, device)
        if not len(self.known):
            return latent, torch.full((self.batch_size,), -1, device=device)
        return latent, self.labels.index_select(0, self._pick())

    def _pick(self) -> Tensor:
        """(N,) indices of examples with a label."""
        if self.cumulative is not None:
            chance = torch.rand(self.batch_size, device=self.known.device)
            return self.known.index_select(0, torch.searchsorted(self.cumulative, chance, right=True))
        pick = torch.randint(len(self.known), (self.batch_size,), device=self.known.device)
        return self.known.index_select(0, pick)


def systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    """(M,) weights that sum to 1 -> M indices, each M times its weight, rounded up or down so that the mean is right.

    (Systematic resampling: the sum of the weights is cut into M equal parts, with one random offset for all cuts.)
    """
    size = len(weights)
    total = weights.double().cumsum(0)
    points = torch.arange(size) + torch.rand((), dtype=torch.float64, generator=generator)
    return torch.searchsorted(total / total[-1], points / size, right=True).clamp(max=size - 1)
