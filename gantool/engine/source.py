"""Batches without the host: a dataset that lives on the device, and the prior."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.images import to_float
from gantool.game.types import Images, Prior

MEAN_OF = 50_000  # examples
TOLD = "real_batches() of the update rule tells of: let it tell how many"  # that a step draws


class Order:
    """A sequence of examples, made an epoch at a time: half a second for ten million.

    Not by a thread of its own: torch would begin a second pool of threads there, and GNU's OpenMP lets no thread spin
    where there are more of them than cores, so that every step of a small net takes nearly twice the time.
    """

    def __init__(self, size: int, make: Callable[[int], Tensor]):
        """`make(epoch)` gives the (size,) indices of that epoch."""
        self.size, self.make = size, make
        self.epoch, self.indices = -1, torch.empty(0, dtype=torch.int64)

    def between(self, start: int, stop: int) -> Tensor:
        """(stop - start,) the examples at these positions, counted since the run began."""
        parts, position = [], start
        while position < stop:
            epoch, offset = divmod(position, self.size)
            parts.append(self._of(epoch)[offset : offset + stop - position])
            position += len(parts[-1])
        return torch.cat(parts)

    def _of(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            self.epoch, self.indices = epoch, self.make(epoch)
        return self.indices


class BatchSource(nn.Module):
    """What all sources do alike; where the pixels lie is up to them.

    Draws without replacement, epoch after epoch. The order of epoch e is a function of the seed and e alone, so the
    number of examples drawn is all there is to save. With weights, an epoch of M draws holds each example M times its
    weight, rounded up or down at random.
    """

    draws_all = False  # must a step draw as many batches as it might?
    drawn: Tensor
    labels: Tensor
    known: Tensor
    base: Tensor
    offsets: Tensor
    cumulative: Tensor | None  # (examples with a label,) of their weights; None = all alike

    def __init__(
        self, images: Images, prior: Prior, latent_dim: int, batch_size: int, seed: int = 0, flip: bool = False
    ):
        super().__init__()
        self.left: int | None = None  # batches of reals that this step may still draw
        self.size = size = len(images.pixels)
        if batch_size > size:
            raise UsageError(
                f"batch_size={batch_size} is larger than the dataset, which has {size} examples: give a smaller one"
            )
        self.batch_size, self.num_classes, self.latent_dim = batch_size, images.num_classes, latent_dim
        self.prior, self.seed, self.flip = prior, seed, flip and images.pixels.dim() == 4
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))  # examples drawn since the run began
        for name, value in (
            ("labels", images.labels),
            ("known", (images.labels >= 0).nonzero().squeeze(1)),  # indices of the examples that have a label
            ("offsets", torch.arange(batch_size)),
            ("base", torch.zeros((), dtype=torch.int64)),  # value of `drawn` at the first of the rows at hand
        ):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("cumulative", None, persistent=False)
        self._set_orders(None)

    def weigh(self, weights: Tensor | None) -> None:
        """From now on examples are drawn by these weights (M,) on the CPU, which sum to 1; None = all alike."""
        self._set_orders(weights)

    def _set_orders(self, weights: Tensor | None) -> None:
        known, self.cumulative = self.known.cpu(), None
        total = torch.empty(0) if weights is None else weights[known].double().cumsum(0)
        if len(total) and total[-1] > 0:
            self.cumulative = (total / total[-1]).float().to(self.known.device)
        cumulative = None if self.cumulative is None else self.cumulative.cpu()
        self.reals_order = Order(self.size, lambda epoch: shuffled(self.size, weights, self._generator(epoch)))
        self.labelled_order = Order(
            self.size, lambda epoch: picked(known, cumulative, self.size, self._generator(2**60 + epoch))
        )

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)

    def reserve(self, batches: int, per_step: int = 1, labelled: bool = True) -> None:
        """Room for the batches that are drawn between two calls of `prepare`, before any step is captured.

        `per_step`: how many of them each step draws; `labelled`: will anybody ask for labelled ones?
        """
        raise NotImplementedError

    def prepare(self, batches: int) -> None:
        """The order of the coming batches. Host work: once a tick, never within a step."""
        raise NotImplementedError

    def feed(self) -> None:
        """Host work before each step; waits for nothing that is at hand."""

    @contextmanager
    def counted(self, batches: int) -> Iterator[None]:
        """Within it at most so many batches of reals are drawn, since no others lie ready; all of them, if `draws_all`.

        Raises UsageError where it is not so.
        """
        self.left = batches
        try:
            yield
        finally:
            left, self.left = self.left, None
        if left and self.draws_all:
            raise UsageError(f"a step draws fewer batches of reals than {TOLD}, or take data=device")

    def reals(self) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [-1, 1] or points (N, P), and labels (N,)."""
        if self.left is not None:
            if not self.left:
                raise UsageError(
                    f"a step draws more batches of reals than {TOLD}; tricks and objectives take turn.real"
                )
            self.left -= 1
        rows = self.drawn - self.base + self.offsets
        self.drawn += self.batch_size
        return self._real(rows)

    def labelled(self) -> tuple[Tensor, Tensor]:
        """The same, drawn with replacement from those whose label is known: other ones after each call of `reals`."""
        return self._labelled(self.drawn - self.base - self.batch_size + self.offsets)

    def _real(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The reals (N,) places after the first that is at hand."""
        raise NotImplementedError

    def _labelled(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def shown(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The examples (N,) `index` of the set."""
        raise NotImplementedError

    def mean(self) -> Tensor:
        """(*data shape) the mean of the set, of 50,000 of its examples if it has more. Not for use within a step."""
        count = min(self.size, MEAN_OF)
        index = torch.arange(count, device=self.drawn.device) * self.size // count
        mean = torch.stack([self.shown(part)[0].sum(dim=0) for part in index.split(self.batch_size)]).sum(dim=0) / count
        return (mean + mean.flip(2)) / 2 if self.flip else mean  # whichever of them were mirrored

    def _evenly(self) -> Tensor:
        """(N,) evenly spaced examples of the set."""
        return self.offsets * (self.size // self.batch_size)

    def seen(self, pixels: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> [-1, 1], and mirrored at random where that is wished; points as they are."""
        image = to_float(pixels)
        if self.flip:
            mirrored = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
            image = torch.where(mirrored, image.flip(3), image)
        return image

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


class DeviceSource(BatchSource):
    """All pixels lie on the device, on the CPU where the dataset has them; the host writes their order once a tick."""

    pixels: Tensor
    order: Tensor
    order_labelled: Tensor

    def __init__(
        self, images: Images, prior: Prior, latent_dim: int, batch_size: int, seed: int = 0, flip: bool = False
    ):
        super().__init__(images, prior, latent_dim, batch_size, seed, flip)
        self.register_buffer("pixels", images.pixels, persistent=False)
        for name in ("order", "order_labelled"):  # indices of the examples to come
            self.register_buffer(name, torch.zeros(batch_size, dtype=torch.int64), persistent=False)
        self.asks_labelled = len(self.known) > 0

    def reserve(self, batches: int, per_step: int = 1, labelled: bool = True) -> None:
        self.order = torch.zeros(batches * self.batch_size, dtype=torch.int64, device=self.drawn.device)
        self.asks_labelled = labelled and len(self.known) > 0
        self.order_labelled = torch.zeros_like(self.order if self.asks_labelled else self.order[:0])

    def prepare(self, batches: int) -> None:
        start = int(self.drawn.item())
        wanted = batches * self.batch_size
        self.order[:wanted].copy_(self.reals_order.between(start, start + wanted))
        if self.asks_labelled:
            self.order_labelled[:wanted].copy_(self.labelled_order.between(start, start + wanted))
        self.base.fill_(start)

    def _real(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.shown(self.order.index_select(0, rows))

    def _labelled(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.shown(self.order_labelled.index_select(0, rows))

    def reference(self) -> tuple[Tensor, Tensor]:
        """N evenly spaced examples of the set."""
        return self.shown(self._evenly())

    def shown(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.seen(self.pixels.index_select(0, index)), self.labels.index_select(0, index)


def shuffled(size: int, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """(size,) the examples of an epoch in turn: each once, or as often as its weight says."""
    order = torch.randperm(size, generator=generator)
    return order if weights is None else systematic(weights, generator).index_select(0, order)


def picked(known: Tensor, cumulative: Tensor | None, size: int, generator: torch.Generator) -> Tensor:
    """(size,) of the examples `known`, with replacement, all alike or by the running sum of their weights."""
    if cumulative is None:
        return known.index_select(0, torch.randint(len(known), (size,), generator=generator))
    chance = torch.rand(size, generator=generator)
    return known.index_select(0, torch.searchsorted(cumulative, chance, right=True))


def systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    """(M,) weights that sum to 1 -> M indices, each M times its weight, rounded up or down so that the mean is right.

    (Systematic resampling: the sum of the weights is cut into M equal parts, with one random offset for all cuts.)
    """
    size = len(weights)
    total = weights.double().cumsum(0)
    points = torch.arange(size) + torch.rand((), dtype=torch.float64, generator=generator)
    return torch.searchsorted(total / total[-1], points / size, right=True).clamp(max=size - 1)
