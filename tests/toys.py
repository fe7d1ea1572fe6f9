"""Small players and data whose mathematics can be done by hand."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from gantool.config.build import Builder
from gantool.errors import UsageError
from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.player import Player
from gantool.game.types import Images, Turn, Verdict

F_DIVERGENCES: dict[str, Callable[[Tensor], Tensor]] = {  # f(u), u = p/q: Nowozin, Cseke and Tomioka 2016, table 5
    "kl": lambda u: u * u.log(),
    "reverse_kl": lambda u: -u.log(),
    "pearson_chi2": lambda u: (u - 1) ** 2,
    "neyman_chi2": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: -(u + 1) * ((1 + u) / 2).log() + u * u.log(),
    "gan": lambda u: u * u.log() - (u + 1) * (u + 1).log(),
    "total_variation": lambda u: (u - 1).abs() / 2,
}


def verdict(logits: Tensor) -> Verdict:
    return Verdict(logits.reshape(-1, 1), logits.reshape(-1, 1))


def turn(
    real: Tensor, fake: Tensor, critic: Callable = None, targets: tuple[float, float] = (1.0, 0.0), **more
) -> Turn:  # type: ignore[assignment]
    """A turn with reals labelled 7 and fakes labelled 8, so that a mix-up shows."""
    n, m = len(real), len(fake)
    fields: dict[str, Any] = {
        "latent": torch.zeros(m, 1),
        "label": torch.full((n,), 7),
        "fake_label": torch.full((m,), 8),
        "real_target": torch.full((n,), targets[0], dtype=real.dtype),
        "fake_target": torch.full((m,), targets[1], dtype=real.dtype),
        "labelled": real[:0],
        "labelled_class": torch.zeros(0, dtype=torch.int64),
        "score": lambda image, label: critic(image, label).logits[:, 0],
    }
    return Turn(real, fake, judge=critic, critic=critic, **fields | more)


class Scalar(nn.Module):
    """G(z) = x, whatever z: one weight, examples of shape (1,)."""

    def __init__(self, x: float):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(x))

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        return self.x.expand(len(latent), 1)


class Linear(nn.Module):
    """D(v) = w v: slope |w| everywhere."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image: Tensor, label: Tensor) -> Verdict:
        return verdict(image.flatten(1) @ self.weight)


class Fixed(nn.Module):
    """A source that gives the same reals and latents for ever, and counts how often it is asked for reals."""

    num_classes = 0

    def __init__(self, real: Tensor, latent_dim: int = 1):
        super().__init__()
        self.batch_size, self.latent_dim, self.asked = len(real), latent_dim, 0
        self.real = real

    def reals(self) -> tuple[Tensor, Tensor]:
        self.asked += 1
        return self.real, torch.full((self.batch_size,), -1)

    def reference(self) -> tuple[Tensor, Tensor]:
        return self.real, torch.full((self.batch_size,), -1)

    def labelled(self) -> tuple[Tensor, Tensor]:
        return self.real, torch.zeros(self.batch_size, dtype=torch.int64)

    def latents(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(self.batch_size, self.latent_dim), torch.full((self.batch_size,), -1)


def players(game: Game, lr: float, optimizer: Callable = torch.optim.SGD, schedule=None) -> tuple[Player, Player]:
    make = partial(optimizer, lr=lr)
    d, g = game.nets["discriminator"].parameters(), game.nets["generator"].parameters()
    return Player(d, make, schedule), Player([*g, *game.objective.parameters()], make, schedule)


def points(size: int, dim: int = 2, classes: int = 0) -> Images:
    """Row i is (i, i, ...): an example can be told by its value."""
    labels = torch.arange(size) % classes if classes else torch.full((size,), -1)
    names = tuple(f"class {i}" for i in range(classes))
    return Images(torch.arange(size, dtype=torch.float32)[:, None].expand(size, dim).clone(), labels, names)


def pictures(size: int, shape: Sequence[int] = (1, 8, 8), classes: int = 2) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (size, *shape), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(size) % classes, tuple(f"class {i}" for i in range(classes)))


def plain(config: Any) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Bit for bit."""
    return len(before) == len(after) and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def refusal(call: Callable, *args: Any, **kwargs: Any) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def composed_game(compose: Callable, *overrides: str, builder: Any = None, images: Images | None = None) -> Game:
    """The game that a command line asks for, on pictures of two classes."""
    config = plain(compose("batch_size=4", "architecture=mlp", *overrides))
    images, builder = images or pictures(10), builder or Builder((), 100)
    source = builder.source(config, images, flip=False)
    return builder.game(config, images.shape, images.num_classes, source)


class Shown(Objective):
    """Keeps the turns it is asked to judge."""

    def __init__(self):
        super().__init__()
        self.d_turn = self.g_turn = None

    def d_loss(self, turn, on_real, on_fake) -> Tensor:
        self.d_turn = turn
        return on_real.logits.mean() - on_fake.logits.mean()

    def g_loss(self, turn, on_fake) -> Tensor:
        self.g_turn = turn
        return on_fake.logits.mean()
