"""The vocabulary of a GAN. Shapes: N batch, C H W image, Z latent, K logits, F features, M dataset size, P point.

A *data shape* is (C, H, W) for images in [-1, 1] and (P,) for points, which keep their own scale.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

Shape = tuple[int, ...]
Device = torch.device | None
Seeded = torch.Generator | None
Stats = dict[str, Tensor]  # name -> 0-dim float tensor on the device


class Verdict(NamedTuple):
    """What a discriminator says of a batch."""

    logits: Tensor  # (N, K) raw scores; K = 1 for most objectives
    features: Tensor  # (N, F) what its head sees


class Fakes(NamedTuple):
    """A generated batch."""

    latent: Tensor  # (N, Z)
    image: Tensor  # (N, *data shape) float32, with the graph of G
    label: Tensor  # (N,)


Critic = Callable[[Tensor, Tensor], Verdict]  # (N, *data shape), (N,) labels -> Verdict


@dataclass(frozen=True)
class Turn:
    """One player's turn: all that losses and penalties may look at."""

    real: Tensor  # (N, *data shape) as shown to D; in G's turn empty unless a hook has `needs_real`
    fake: Tensor  # (N, *data shape) as shown to D
    latent: Tensor  # (N, Z)
    label: Tensor  # (N,) of the reals; -1 = unlabelled
    fake_label: Tensor  # (N,)
    real_target: Tensor  # (N,) 1 unless a trick says otherwise
    fake_target: Tensor  # (N,) 0 unless a trick says otherwise
    labelled: (
        Tensor  # (N, *data shape) reals of known class, as shown to D; empty unless `needs_labelled`, and in G's turn
    )
    labelled_class: Tensor  # (N,) theirs
    judge: Critic  # D as it trains, under autocast; or D with other weights
    critic: Critic  # the same in float32, for penalties
    score: Callable[[Tensor, Tensor], Tensor]  # (N, *data shape), (N,) labels -> (N,) D's one number, in float32


class Images(NamedTuple):
    """A split of a dataset in memory (or memory-mapped)."""

    pixels: Tensor  # (M, C, H, W) uint8, or (M, P) float32 points
    labels: Tensor  # (M,) int64; all -1 where there are none
    names: tuple[str, ...] = ()  # one name a class; () = no classes

    @property
    def shape(self) -> Shape:
        return tuple(self.pixels.shape[1:])

    @property
    def num_classes(self) -> int:
        return len(self.names)


class Dataset(Protocol):
    """The shelf gantool/datasets. Shape and classes are known before anything heavy is read."""

    shape: Shape
    names: tuple[str, ...]
    flip: bool  # is a mirrored example as likely as the example?

    def load(self, split: str = "train") -> Images:
        """`split` is "train" or "test". Raises UsageError with one sentence where the data cannot be had.

        Where a dataset has an attribute `held_out`, and it is not 0, there is also "validation", with as many examples.
        """
        ...


class Prior(Protocol):
    """The shelf gantool/priors: the distribution of z."""

    def __call__(self, n: int, dim: int, device: Device = None, generator: Seeded = None) -> Tensor:
        """(n, dim) float32 on the device, from torch's own generator unless one is given."""
        ...

    def truncated(self, n: int, dim: int, truncation: float, device: Device = None, generator: Seeded = None) -> Tensor:
        """The same with the tails cut: fewer surprises, less variety (Brock et al. 2019, section 3.1)."""
        ...


class Source(Protocol):
    """Where batches come from, inside a step: no host, no files; what the host does for them comes before."""

    batch_size: int
    num_classes: int

    def reals(self) -> tuple[Tensor, Tensor]:
        """Images (N, *data shape) float32 in [-1, 1] (points keep their scale) and labels (N,)."""
        ...

    def labelled(self) -> tuple[Tensor, Tensor]:
        """The same, but only examples whose label is known, each as likely; other ones after each call of reals()."""
        ...

    def latents(self) -> tuple[Tensor, Tensor]:
        """Latents (N, Z) and labels (N,) to ask of G."""
        ...

    def reference(self) -> tuple[Tensor, Tensor]:
        """Like reals(), but always the same examples, and none of the epoch's is used up."""
        ...

    def mean(self) -> Tensor:
        """(*data shape) of the data. At build time only."""
        ...


class Trained(Protocol):
    """What a metric may ask of a game. All on the CPU, in eval mode, and without a trace in the training state."""

    device: torch.device  # where the game is, and a metric may compute

    def fakes(self, n: int, label: int | None = None) -> Tensor:
        """n samples (n, *data shape) of the deployed generator; with a label, all of that class."""
        ...

    def batches(self, n: int) -> Iterator[Tensor]:
        """The same a batch at a time: what would not fit into memory at once."""
        ...

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What metrics of one evaluation share, whose draws all begin alike: made for the first one that asks."""
        ...

    def class_logits(self, images: Tensor) -> Tensor | None:
        """(N, *data shape) -> (N, classes or values of a code), as D takes them apart; None where it does not."""
        ...

    def verdicts(self, real: Tensor, label: Tensor) -> dict[str, float]:
        """What D says of reals (N, *data shape), (N,), and of as many fresh fakes: the columns of its training rows."""
        ...

    def hidden(self, images: Tensor) -> list[Tensor]:
        """(N, *data shape) -> each hidden layer of D, the first one first: maps (N, C, H, W) or numbers (N, F)."""
        ...

    def report(self, what: str, done: int, total: int) -> None:
        """For the progress bar: so much of `what` ("features", say) is done. To be called between pieces of long work;
        all that is asked above does so itself."""
        ...


class Metric(Protocol):
    """The shelf gantool/metrics."""

    columns: tuple[str, ...]  # names of the numbers that it may give; no two metrics share one

    def check(self, dataset: Dataset, objective: Any) -> None:
        """Before anything is trained: raises UsageError where this data or objective cannot be measured so.

        Splits that it needs are loaded here too: `load` refuses those that there are not.
        """
        ...

    def __call__(self, trained: Trained, dataset: Dataset) -> dict[str, float]: ...

    def facts(self) -> dict[str, Any]:
        """What the numbers of the last call depend on, in JSON's plain values: who compares two rows compares these.

        Shared names: `samples`; `reference`, the split compared with, and `reference_size`; `features`, the extractor,
        and `fingerprint`, of its weights; `resize`, the filter before it.
        """
        ...
