"""What a round changes, where it lies."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gantool.engine.meters import Meters
from gantool.engine.random import get_rng, set_rng
from gantool.game.game import Game
from gantool.game.player import Player


class Saved(NamedTuple):
    tensors: dict[str, Tensor]
    rng: dict[str, Tensor]


class State:
    """The tensors of a game, its players and its meters; they are put back in place, where a record looks for them."""

    def __init__(self, game: Game, players: Mapping[str, Player], meters: Meters, device: torch.device):
        self.game, self.players, self.meters, self.device = game, players, meters, device

    def tensors(self) -> dict[str, Tensor]:
        """All that there are at present, once each, by name; the data too, which a round only reads."""
        found: dict[str, Tensor] = {**dict(self.game.named_parameters()), **dict(self.game.named_buffers())}
        parts = {name: player.tensors() for name, player in self.players.items()} | {"meters": self.meters.tensors()}
        for name, tensors in parts.items():
            found |= {f"{name}/{key}": tensor for key, tensor in tensors.items()}
        known = {id(tensor): name for name, tensor in reversed(found.items())}  # parameters are their player's too
        return {name: tensor for name, tensor in found.items() if known[id(tensor)] == name}

    def addresses(self) -> dict[str, int]:
        return {name: tensor.data_ptr() for name, tensor in self.tensors().items()}

    def moved(self, before: Mapping[str, int]) -> str | None:
        """A tensor that does not lie where it did, or is new: a record made before would not find it."""
        return next((name for name, where in self.addresses().items() if before.get(name) != where), None)

    def copy(self) -> Saved:
        """Of all that a checkpoint would hold of them and a step can write to."""
        kept = self.game.state_dict().keys()
        mine = {
            name: each for name, each in self.tensors().items() if (name in kept or "/" in name) and _writable(each)
        }
        return Saved({name: tensor.detach().clone() for name, tensor in mine.items()}, get_rng(self.device))

    @torch.no_grad()
    def put_back(self, saved: Saved) -> None:
        here = self.tensors()
        for name, tensor in saved.tensors.items():
            here[name].copy_(tensor)
        set_rng(self.device, saved.rng)


def _writable(tensor: Tensor) -> bool:
    """Not so a number that is expanded to many: torch copies nothing into them."""
    return all(stride or size == 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
