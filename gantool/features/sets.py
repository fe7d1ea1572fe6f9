"""Features of samples and of the data that they are compared with: in pieces, and kept where that saves time."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gantool.features.cache import kept
from gantool.features.extractors import Extractor, Pixels
from gantool.game.distances import exact
from gantool.game.images import fingerprint, to_pixels
from gantool.game.types import Dataset, Trained

Report = Callable[[str, int, int], None]  # of what, how much is done, of how much
PIECE = 500  # examples


class Features(NamedTuple):
    """Of N samples, on the CPU."""

    vectors: Tensor  # (N, F) float32
    logits: Tensor | None  # (N, classes)


class Moments(NamedTuple):
    """In float64, on the CPU."""

    mean: Tensor  # (F,)
    covariance: Tensor  # (F, F), unbiased


def of_samples(trained: Trained, extractor: Extractor, n: int) -> Features:
    """Of the first n samples, once for all metrics of an evaluation."""

    def extract() -> Features:
        pixels = map(to_pixels, trained.batches(n))
        vectors, logits = zip(*_extracted(extractor, pixels, n, "samples", trained.report), strict=True)
        return Features(torch.cat(vectors), None if logits[0] is None else torch.cat(logits))

    return trained.once(("features", extractor.fingerprint, n), extract)


class Reference:
    """Examples of a split: all, or as many as `most`, always the same ones. What is extracted is kept for all runs."""

    def __init__(self, dataset: Dataset, split: str, most: int, extractor: Extractor, trained: Trained):
        self.images, self.extractor, self.trained = dataset.load(split), extractor, trained
        self.order = torch.randperm(len(self.images.pixels), generator=torch.Generator().manual_seed(0))[:most]

    def vectors(self, most: int) -> Tensor:
        """(M, F) of as many of them."""
        if isinstance(self.extractor, Pixels):  # no sooner read than made
            return torch.cat(list(self._vectors(most)))
        make = lambda: {"vectors": torch.cat(list(self._vectors(most)))}  # noqa: E731
        return kept("features", ["vectors", *self._key(most)], make)["vectors"]

    def moments(self) -> Moments:
        make = lambda: moments(self._vectors(len(self.order)), self.trained.device)._asdict()  # noqa: E731
        state = kept("features", ["moments", *self._key(len(self.order))], make)
        return Moments(state["mean"], state["covariance"])

    def _key(self, most: int) -> list[str | int]:
        return [fingerprint(self.images), self.extractor.fingerprint, len(self.order[:most])]

    def _vectors(self, most: int) -> Iterator[Tensor]:
        chosen = self.order[:most].sort().values
        pixels = (self.images.pixels[part] for part in chosen.split(PIECE))
        for vectors, _ in _extracted(self.extractor, pixels, len(chosen), "the data", self.trained.report):
            yield vectors


def moments(parts: Iterable[Tensor], device: torch.device) -> Moments:
    """Of vectors (N, F) in parts, in one pass (Chan, Golub and LeVeque 1979, section 2)."""
    device = exact(device)
    count, mean, scatter = 0, torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), device=device)
    for part in parts:
        x = part.double().to(device)
        centre = x.mean(dim=0)
        apart, n = centre - mean, len(x)
        x = x - centre
        scatter = scatter + x.T @ x + torch.outer(apart, apart) * (count * n / (count + n))
        count, mean = count + n, mean + apart * (n / (count + n))
    return Moments(mean.cpu(), (scatter / (count - 1)).cpu())


def _extracted(
    extractor: Extractor, batches: Iterable[Tensor], total: int, what: str, report: Report
) -> Iterator[tuple[Tensor, Tensor | None]]:
    done = 0
    for pixels in batches:
        yield extractor(pixels)
        done += len(pixels)
        report(f"features of {what}", done, total)
