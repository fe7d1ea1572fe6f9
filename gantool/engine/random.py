"""The random generators that a step draws from."""

import torch
from torch import Tensor


def set_seed(device: torch.device, number: int) -> None:
    """Of the generators that a step draws from.

    torch.manual_seed does so on all devices, and notes for those that were not used yet who asked: a millisecond.
    """
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    if device.type == "mps":
        torch.mps.manual_seed(number)


def get_rng(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that a step draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng(device: torch.device, states: dict[str, Tensor]) -> None:
    """A run that moves to another kind of device keeps what it can."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
