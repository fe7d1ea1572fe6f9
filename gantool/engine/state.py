"""What a round changes, where it lies."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gantool.engine.meters import Meters
from gantool.engine.plain import changed, plain
from gantool.engine.random import get_rng, set_rng
from gantool.game.game import Game
from gantool.game.player import Player


class Saved(NamedTuple):
    tensors: dict[str, Tensor]
    rng: dict[str, Tensor]


class Place(NamedTuple):
    """Where tensors lie, and what else there is."""

    addresses: dict[str, int]
    plain: dict[str, Any]


class State:
    """The tensors of a game, its players, its meters and its update rule, if that keeps some.

    They are put back in place, where a record looks for them.
    """

    def __init__(
        self, game: Game, players: Mapping[str, Player], meters: Meters, device: torch.device, update: object = None
    ):
        self.game, self.players, self.meters, self.device, self.update = game, players, meters, device, update

    def tensors(self) -> dict[str, Tensor]:
        """All that there are at present, once each, by name; the data too, which a round only reads."""
        found: dict[str, Tensor] = {**dict(self.game.named_parameters()), **dict(self.game.named_buffers())}
        parts = {name: player.tensors() for name, player in self.players.items()} | {"meters": self.meters.tensors()}
        if isinstance(self.update, nn.Module):
            parts["update"] = dict(self.update.named_parameters()) | dict(self.update.named_buffers())
        for name, tensors in parts.items():
            found |= {f"{name}/{key}": tensor for key, tensor in tensors.items()}
        known = {id(tensor): name for name, tensor in reversed(found.items())}  # parameters are their player's too
        return {name: tensor for name, tensor in found.items() if known[id(tensor)] == name}

    def place(self) -> Place:
        return Place({name: tensor.data_ptr() for name, tensor in self.tensors().items()}, self.plain())

    def plain(self) -> dict[str, Any]:
        """What Python keeps beside the tensors (gantool.engine.plain)."""
        parts = {name: part for name, part in self.game.named_modules() if name and not name.startswith("source")}
        owners = parts | ({"update": self.update} if self.update is not None else {})
        return plain(owners, {id(tensor) for tensor in self.tensors().values()})

    def moved(self, before: Place) -> str | None:
        """What a record made before would not find: a tensor that lies elsewhere or is new, another number in Python.

        As the end of a sentence that begins with `a step`.
        """
        here = self.place()
        found = next((name for name, where in here.addresses.items() if before.addresses.get(name) != where), None)
        if found:
            return f"makes {found} anew, instead of writing to it"
        kept = changed(before.plain, here.plain)
        return f"changes {kept[0]}, which is no buffer: register_buffer makes it one" if kept else None

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
