"""Parameters and what moves them."""

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.game.hooks import Clock
from gantool.game.schedules import Schedule

BESIDES = {"momentum": "momentum_buffer", "amsgrad": "max_exp_avg_sq", "centered": "grad_avg"}  # kept with an option
WAYS = ("fused", "foreach", "differentiable")  # of stepping, of torch's optimisers
log = logging.getLogger(__name__)


class Player:
    """Parameters and the optimiser that moves them."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optimizer: Callable[..., torch.optim.Optimizer],  # parameters -> optimiser
        schedule: Schedule | None = None,  # of the learning rate; None = constant
        device: torch.device | None = None,  # of a player without parameters
    ):
        # torch's optimisers want something to move: a player without parameters has a number that no loss depends on
        self.parameters: list[Tensor] = list(parameters) or [torch.zeros((), requires_grad=True, device=device)]
        self.optimizer = optimizer(self.parameters, **_fast_options(optimizer, self.parameters))
        self.optimizer._warned_capturable_if_run_uncaptured = True  # torch would, at the first steps of each run
        self.schedule = schedule if schedule is not None and schedule.kind != "constant" else None
        self.clock = Clock().to(self.parameters[0].device)
        self.previous: list[Tensor] = []  # displacements of the step before, where the update is optimistic

    def grads(self, loss: Tensor, create_graph: bool = False, keep_graph: bool = False) -> Sequence[Tensor]:
        """Gradients for this player's parameters alone: nothing is computed for the other's."""
        keep = create_graph or keep_graph
        return torch.autograd.grad(
            loss, self.parameters, retain_graph=keep, create_graph=create_graph, materialize_grads=True
        )

    def apply(self, grads: Sequence[Tensor], optimistic: bool = False) -> None:
        """One step of the optimiser. A schedule scales its displacement: torch's optimisers are linear in lr.

        Optimistic: twice the displacement less that of the step before (Daskalakis et al. 2018, algorithm 1).
        """
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = laid_out_like(parameter, grad)
        if self.schedule is None and not optimistic:
            step(self.optimizer)
        else:
            self._displace(optimistic)
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def _displace(self, optimistic: bool) -> None:
        before = self.weights()
        step(self.optimizer)
        moved = torch._foreach_sub(self.parameters, before)
        if self.schedule is not None:
            torch._foreach_mul_(moved, self.factor())
        if optimistic:
            self.previous = self.previous or [torch.zeros_like(parameter) for parameter in self.parameters]
            ahead = torch._foreach_sub(torch._foreach_mul(moved, 2.0), self.previous)
            torch._foreach_copy_(self.previous, moved)
            moved = ahead
        torch._foreach_copy_(self.parameters, torch._foreach_add(before, moved))

    def factor(self) -> Tensor | float:
        """Of the learning rate, at present."""
        return 1.0 if self.schedule is None else self.schedule(self.clock.now)

    def weights(self) -> list[Tensor]:
        """A copy of the parameters."""
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def put_back(self, weights: Sequence[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, list(weights))

    @property
    def capturable(self) -> bool:
        """May a CUDA graph hold a step? Not if the optimiser counts on the host, or says so."""
        kept = [value for state in self.optimizer.state.values() for value in state.values() if value is not None]
        on_device = all(isinstance(value, Tensor) and value.device == self.clock.now.device for value in kept)
        return on_device and all(group.get("capturable", True) for group in self.optimizer.param_groups)

    def tensors(self) -> dict[str, Tensor]:
        """All that a step changes, by name."""
        found = {"clock": self.clock.now} | {f"parameter.{i}": each for i, each in enumerate(self.parameters)}
        found |= {f"previous.{i}": each for i, each in enumerate(self.previous)}
        for i, parameter in enumerate(self.parameters):
            state = self.optimizer.state.get(parameter, {})
            found |= {f"{i}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        return found

    def state_dict(self) -> dict[str, Any]:
        kind = type(self.optimizer).__name__
        moments = self.optimizer.state_dict()["state"]
        return {"kind": kind, "moments": moments, "steps": self.clock.now, "previous": self.previous}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Moments and clock. The hyperparameters are this configuration's; another optimiser starts afresh."""
        self.clock.now.copy_(state["steps"])
        self.previous = [each.to(self.clock.now.device).clone() for each in state.get("previous", [])]
        if state["kind"] == type(self.optimizer).__name__:
            known, here = state["moments"].keys(), range(len(self.parameters))
            every = type(self.optimizer).__module__.startswith("torch.optim") and known  # has it moments of all?
            if known - here or (every and here - known):
                raise UsageError(
                    f"the saved optimiser moves {len(known)} tensors of weights and this configuration's {len(here)}: "
                    "go on with the layers frozen that were, or begin another run"
                )
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
            for parameter, kept in self.optimizer.state.items():  # perhaps of a device on which they lie otherwise
                for option, name in BESIDES.items():  # an option that is new has remembered nothing yet
                    if self.optimizer.param_groups[0].get(option) and kept.get(name) is None:
                        kept[name] = torch.zeros_like(parameter)
                for name, value in kept.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        kept[name] = laid_out_like(parameter, value)
        else:
            log.warning(
                "%s has no use for the state of %s and starts afresh", type(self.optimizer).__name__, state["kind"]
            )


def laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A gradient or moment in the parameter's memory layout, which fused optimisers on the CPU take for granted.

    backward() sees to it, torch.autograd.grad does not: through a gradient penalty, convolutions get another one.
    """
    return value if value.stride() == parameter.stride() else torch.empty_like(parameter).copy_(value)


def step(optimizer: torch.optim.Optimizer) -> None:
    """One step. Of torch's own optimisers without their wrapper, which loads torch's compiler: that takes a second."""
    if type(optimizer).__module__.startswith("torch.optim."):
        with torch.no_grad():
            inspect.unwrap(type(optimizer).step)(optimizer)
    else:
        optimizer.step()


def _spare_compiler() -> None:
    """These methods load torch's compiler for the mark that it is to pass them over: they get it without."""
    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        method = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        if not hasattr(method, "__dynamo_disable"):  # looked for by torch._compile._disable_dynamo
            setattr(method, "__dynamo_disable", method)  # noqa: B010 (an attribute's name would be mangled in a class)


_spare_compiler()


def _fast_options(optimizer: Callable[..., Any], parameters: list[Tensor]) -> dict[str, bool]:
    """fused where there is such a kernel; capturable on CUDA, so that a CUDA graph may hold the step.

    Raises UsageError for two ways of stepping at once, which torch's optimisers have no answer to.
    """
    known = inspect.signature(getattr(optimizer, "func", optimizer)).parameters
    given = getattr(optimizer, "keywords", {})
    device = parameters[0].device.type
    asked = [name for name in WAYS if given.get(name)]
    if len(asked) > 1 or any(given[name] is not True for name in asked):
        told = ", ".join(f"{name}={given[name]}" for name in asked).lower()
        raise UsageError(
            f"let one of {WAYS[0]}, {WAYS[1]} and {WAYS[2]} be true, as an optimizer steps in one way: it has {told}"
        )
    real = all(parameter.is_floating_point() for parameter in parameters)
    options = {"fused": device in ("cpu", "cuda") and real and not asked, "capturable": device == "cuda"}
    return {name: True for name, wanted in options.items() if wanted and name in known and name not in given}
