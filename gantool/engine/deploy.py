"""The generator as its users get it."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantool.engine.layers import hidden
from gantool.engine.random import get_rng, set_rng, set_seed
from gantool.game.game import Game
from gantool.game.meta import Meta
from gantool.game.promises import one_each
from gantool.game.types import Prior

Report = Callable[[str, int, int], None]  # of what, how much is done, of how much


def silent(what: str, done: int, total: int) -> None:
    """Nobody is told."""


class Deployed:
    """Draws from a trained game in eval mode and float32, and leaves no trace in its training state."""

    def __init__(
        self,
        game: Game,
        prior: Prior,
        latent_dim: int,
        class_counts: list[int],  # how often each class is in the data; [] = not conditional
        raw: bool = False,  # the weights that train, not those that a trick would deploy
        batch_size: int = 256,
        meta: Meta | None = None,  # whose finished components are mixed with this game's generator
    ):
        self.game, self.prior, self.latent_dim, self.batch_size = game, prior, latent_dim, batch_size
        self.class_counts = torch.tensor(class_counts, dtype=torch.float32)
        generator = game.nets["generator"] if raw else game.deployed
        self.averaged = generator is not game.nets["generator"]
        self.generator = meta.mixture(generator) if meta else generator
        self.mixed = meta is not None
        self.device = next(self.generator.parameters()).device

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        """(n, Z) on the CPU, so that a seed gives the same on every device; (n, Z + 1) for a mixture."""
        if truncation is None:
            noise = self.prior(n, self.latent_dim, generator=generator)
        else:
            noise = self.prior.truncated(n, self.latent_dim, truncation, generator=generator)
        latent = self._coded(noise, generator) if self.game.objective.codes else noise
        return torch.cat([latent, torch.rand(n, 1, generator=generator)], dim=1) if self.mixed else latent

    def _coded(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """An objective draws its codes from torch's own generator, which is set aside and seeded meanwhile."""
        with self._aside():
            set_seed(self.device, int(torch.randint(2**31, (), generator=generator)))
            return self.game.objective.latent(noise)

    def labels(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) with the frequencies of the data; -1 where nothing is conditional."""
        if not len(self.class_counts):
            return torch.full((n,), -1)
        return torch.multinomial(self.class_counts, n, replacement=True, generator=generator)

    def images(self, latent: Tensor, label: Tensor) -> Tensor:
        """Latents as above, (N,) -> (N, *data shape) on the CPU."""
        return torch.cat(list(self.batches(latent, label)))

    def batches(self, latent: Tensor, label: Tensor) -> Iterator[Tensor]:
        """The same, a batch at a time: large sets need not lie in memory at once.

        What is random within the generator (dropout, noise) follows from the latents.
        """
        for z, c in zip(latent.split(self.batch_size), label.split(self.batch_size), strict=True):
            with self._aside():
                set_seed(self.device, int(z.float().view(torch.int32).sum()))
                made = one_each(self.generator(z.to(self.device), c.to(self.device)), len(z), self.generator)
                images = made.float().cpu()
            yield images

    def draw(
        self,
        n: int,
        generator: torch.Generator,
        label: int | None = None,
        report: Report = silent,
        truncation: float | None = None,
    ) -> Tensor:
        """n samples, fair ones without `truncation`; with a label, all of that class."""
        latent = self.latents(n, generator, truncation)
        labels = self.labels(n, generator) if label is None else torch.full((n,), label)
        drawn: list[Tensor] = []
        for batch in self.batches(latent, labels):
            drawn.append(batch)
            report("samples", min(n, len(drawn) * self.batch_size), n)
        return torch.cat(drawn)

    def seeded(
        self,
        seed: int,
        report: Report = silent,
        shared: dict[Hashable, Any] | None = None,
        truncation: float | None = None,
    ) -> "Seeded":
        """What a metric may ask; every draw of it follows from the seed. Metrics make `shared` for each other."""
        generator = torch.Generator().manual_seed(seed)
        return Seeded(self, generator, report, {} if shared is None else shared, truncation)

    def class_logits(self, images: Tensor, report: Report = silent) -> Tensor | None:
        """(N, *data shape) -> (N, classes or values of a code) on the CPU, as D takes unlabelled examples apart.

        As a classifier is used: BatchNorm goes by its averages.
        """
        found: list[Tensor] = []
        discriminator, together = self.game.nets["discriminator"], self._together(len(images))
        for index in together:
            batch = images[index]
            with self._aside(), evaluating(discriminator):
                verdict = discriminator(batch.to(self.device), torch.full((len(batch),), -1, device=self.device))
                logits = self.game.objective.class_logits(verdict.logits.float())
            if logits is None:
                return None
            found.append(logits.cpu())
            report("verdicts", len(found), len(together))
        return _in_order(found, together)

    def verdicts(
        self,
        real: Tensor,
        label: Tensor,
        generator: torch.Generator,
        report: Report = silent,
        truncation: float | None = None,
    ) -> dict[str, float]:
        """What D says of reals (N, *data shape) with labels (N,), and of as many fresh fakes: `Game.verdicts`.

        Means over batches of the size that D is trained on, in random order, since D may compare the examples of one;
        the last is filled up. BatchNorm goes by the batch, too: its averages are of reals and fakes, which it never
        sees in one batch.
        """
        latent, fake_label = self.latents(len(real), generator, truncation), self.labels(len(real), generator)
        fake = self.images(latent, fake_label)
        batches, totals = self._mixed(len(real)), dict[str, Tensor]()
        sets = (real, label, latent[:, : self.latent_dim], fake, fake_label)
        for i, index in enumerate(batches):
            parts = [each[index].to(self.device) for each in sets]
            several = by_batch(self.game.nets["discriminator"]) if len(index) > 1 else nullcontext()
            with self._aside(), evaluating(self.game), several:
                set_seed(self.device, int(torch.randint(2**31, (), generator=generator)))
                said = self.game.verdicts(*parts)
            totals = {name: totals.get(name, 0) + value for name, value in said.items()}
            report("verdicts", i + 1, len(batches))
        return {name: float(total) / len(batches) for name, total in totals.items()}

    def hidden(self, images: Tensor, report: Report = silent) -> list[Tensor]:
        """(N, *data shape) -> the hidden layers of D on the CPU, as it sees unlabelled examples: `layers.hidden`."""
        found: list[list[Tensor]] = []
        discriminator, together = self.game.nets["discriminator"], self._together(len(images))
        for index in together:
            batch, label = images[index], torch.full((len(index),), -1, device=self.device)
            with self._aside(), evaluating(discriminator):
                found.append([layer.float().cpu() for layer in hidden(discriminator, batch.to(self.device), label)])
            report("hidden layers", len(found), len(together))
        return [_in_order(layers, together) for layers in zip(*found, strict=True)]

    def _together(self, n: int) -> tuple[Tensor, ...]:
        """Indices of n images, those that D sees at once together."""
        return torch.arange(n).split(self.batch_size) if self.game.by_example else self._mixed(n)

    def _mixed(self, n: int) -> tuple[Tensor, ...]:
        """Indices of n images in batches as in training: as many, in random order, the last filled up."""
        size = min(self.game.source.batch_size, n)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        return torch.cat([order, order[: -n % size]]).split(size)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        devices = [self.device] if self.device.type == "cuda" else []
        mps = torch.mps.get_rng_state() if self.device.type == "mps" else None  # which fork_rng does not set aside
        with evaluating(self.generator), torch.no_grad(), torch.random.fork_rng(devices=devices):
            try:
                yield
            finally:
                if mps is not None:
                    torch.mps.set_rng_state(mps)


class Seeded:
    """A deployed game as metrics see it (gantool.game.types.Trained)."""

    def __init__(
        self,
        deployed: Deployed,
        generator: torch.Generator,
        report: Report,
        shared: dict[Hashable, Any],
        truncation: float | None,
    ):
        self.deployed, self.generator, self.report, self.shared = deployed, generator, report, shared
        self.truncation, self.device = truncation, deployed.device

    def fakes(self, n: int, label: int | None = None) -> Tensor:
        return self.deployed.draw(n, self.generator, label, self.report, self.truncation)

    def batches(self, n: int) -> Iterator[Tensor]:
        latent = self.deployed.latents(n, self.generator, self.truncation)
        return self.deployed.batches(latent, self.deployed.labels(n, self.generator))

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def class_logits(self, images: Tensor) -> Tensor | None:
        return self.deployed.class_logits(images, self.report)

    def verdicts(self, real: Tensor, label: Tensor) -> dict[str, float]:
        return self.deployed.verdicts(real, label, self.generator, self.report, self.truncation)

    def hidden(self, images: Tensor) -> list[Tensor]:
        return self.deployed.hidden(images, self.report)


def _in_order(parts: Sequence[Tensor], together: Sequence[Tensor]) -> Tensor:
    """What was found of the images with these indices -> (N, ...) image after image, without what filled up."""
    index, values = torch.cat(list(together)), torch.cat(list(parts))
    n = int(index.max()) + 1
    found = values.new_empty(n, *values.shape[1:])
    found[index[:n]] = values[:n]
    return found


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """eval mode for a while; every submodule gets its own mode back."""
    with kept_modes(net):
        net.eval()
        yield


@contextmanager
def by_batch(net: nn.Module) -> Iterator[None]:
    """BatchNorm, in eval mode, by the mean and variance of the batch for a while; its averages stay as they are."""
    averages = [
        (layer, name, average)
        for layer in net.modules() if isinstance(layer, _BatchNorm)
        for name in ("running_mean", "running_var") if (average := getattr(layer, name)) is not None
    ]  # fmt: skip
    try:
        for layer, name, _ in averages:
            setattr(layer, name, None)
        yield
    finally:
        for layer, name, average in averages:
            setattr(layer, name, average)


@contextmanager
def untouched(game: Game, device: torch.device) -> Iterator[None]:
    """Modes and random generators are as before, whatever happens meanwhile, and wherever it ends."""
    rng = get_rng(device)
    with kept_modes(game):
        try:
            yield
        finally:
            set_rng(device, rng)


@contextmanager
def kept_modes(net: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
