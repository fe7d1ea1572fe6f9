"""A meta-algorithm: the game is played several times over, and what is deployed is the mixture of all generators."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gantool.game.surgery import frozen_copy
from gantool.game.types import Images, Trained


class Examples(Protocol):
    """The training examples, as a player is shown them."""

    batch_size: int
    size: int  # M

    def shown(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) indices -> images (N, *data shape) and labels (N,)."""
        ...


class Mixture(nn.Module):
    """Each example is drawn by one of several generators; which, a further number of its latent in [0, 1) decides.

    `shares` (T, K + 1) is in proportion to how often component t draws an example of each of the K classes, and, last,
    one of no class (label -1).
    """

    edges: Tensor

    def __init__(self, components: Sequence[nn.Module], shares: Tensor):
        super().__init__()
        self.components = nn.ModuleList(components)
        total = shares.cumsum(dim=0)
        total = torch.where(total[-1] > 0, total, total[:, -1:])  # a class that nobody has seen: as if there were none
        device = next(self.components.parameters()).device
        self.register_buffer("edges", (total / total[-1]).float().to(device), persistent=False)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """(N, Z + 1), (N,) -> (N, *data shape). Waits for the device: not for use within a step."""
        noise, chosen = self._split(latent, label)
        rows = [(chosen == t).nonzero().squeeze(1) for t in range(len(self.components))]
        drawn = [each(noise[row], label[row]) for each, row in zip(self.components, rows, strict=True) if len(row)]
        return torch.cat(drawn)[torch.cat(rows).argsort()]

    def drawn_by_all(self, latent: Tensor, label: Tensor) -> Tensor:
        """The same, T times as slow, without a look at the numbers."""
        noise, chosen = self._split(latent, label)
        drawn = torch.stack([each(noise, label) for each in self.components])
        index = chosen.view(1, -1, *(1 for _ in drawn.shape[2:])).expand(1, *drawn.shape[1:])
        return drawn.gather(0, index).squeeze(0)

    def _split(self, latent: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The components' latents, and which component (N,) draws each example."""
        return latent[:, :-1], (latent[:, -1:] >= self.edges.T[label]).sum(dim=1)


class Meta:
    """The shelf gantool/meta. Knows the finished components, their shares, and the weights of the examples."""

    shares: Tensor  # (t, K + 1) as a Mixture takes them, the component in training included
    weights: Tensor | None = None  # (M,) how often it is shown each example; they sum to 1; None = all alike

    def __init__(self, rounds: int):
        self.rounds = rounds  # components to be trained
        self.components: list[nn.Module] = []  # the finished ones, as they are deployed

    def begin(self, images: Images) -> None:
        """The first component is an ordinary GAN."""
        self.labels, self.num_classes = images.labels, images.num_classes
        self.shares = self._class_shares(torch.full((len(images.labels),), 1 / len(images.labels)).double())

    def reweigh(self, examples: Examples, trained: Trained, discriminator: nn.Module) -> tuple[float, Tensor]:
        """Share of the next component in the mixture, and (M,) weights of the examples that it is shown.

        `trained` is the mixture so far, `discriminator` a fresh one of the run's architecture that is told no class.
        """
        raise NotImplementedError

    def advance(self, generator: nn.Module, share: float, weights: Tensor) -> None:
        """`generator` is finished; from now on the next component is trained, with this share and these weights."""
        self.components.append(frozen_copy(generator))
        self.weights = weights
        self.shares = torch.cat([(1 - share) * self.shares, share * self._class_shares(weights)])

    def mixture(self, generator: nn.Module) -> Mixture:
        """Of the finished components and the one in training."""
        return Mixture([*self.components, generator], self.shares)

    def _class_shares(self, weights: Tensor) -> Tensor:
        """(M,) -> (1, K + 1): how much of the weight each class has, and 1."""
        counts = torch.zeros(self.num_classes + 1, dtype=weights.dtype)
        counts.index_add_(0, self.labels % (self.num_classes + 1), weights)
        counts[-1] = 1.0
        return counts.unsqueeze(0)

    def state_dict(self) -> dict[str, Any]:
        components = [component.state_dict() for component in self.components]
        return {"components": components, "shares": self.shares, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any], generator: nn.Module) -> None:
        """`generator` is like all the components."""
        self.components = [frozen_copy(generator) for _ in state["components"]]
        for component, weights in zip(self.components, state["components"], strict=True):
            component.load_state_dict(weights)
        self.shares, self.weights = state["shares"], state["weights"]
