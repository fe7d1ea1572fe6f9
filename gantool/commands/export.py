"""gantool export: a trained generator as a program that runs without gantool."""

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from omegaconf import DictConfig, OmegaConf

from gantool.errors import RunError
from gantool.runs.folder import ending, find, write_atomically

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from gantool.engine.deploy import Deployed

log = logging.getLogger(__name__)
FACTS = "gantool.json"  # inside the file
EXAMPLES = 3  # latents that the program is traced with, and that it is compared on


def run(cfg: DictConfig) -> None:
    """Writes the file, and says where it is and what it takes."""
    from gantool.commands.loading import load, state_of, trained_with
    from gantool.config.schema import Export
    from gantool.config.signature import check_root

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    check_root(config, Export)
    folder, file = find(config["run"], trained=True)
    out = ending(Path(config["out"]).expanduser(), ".pt2") if config["out"] else None
    state, trained = state_of(folder, file, config["checkpoint"]), trained_with(folder)
    deployed = load(state, folder, config | {"device": "cpu", "batch_size": 256})
    facts = describe(deployed, state, trained)
    written = out or folder.root / f"generator_step_{state['step']:08d}.pt2"
    write_atomically(written, lambda stream: save(program(deployed), facts, stream))
    for name, said in facts.items():
        log.info("%-8s %s", name, said)
    print(written)


def describe(deployed: "Deployed", state: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """What whoever calls the program must know."""
    names, prior = state["data"]["names"], trained["prior"]["_target_"].split(".")[-2]
    width = deployed.latent_dim + deployed.mixed
    codes = list(deployed.game.objective.codes)
    first = f"the first {sum(codes)} numbers are codes of widths {codes}; " if codes else ""
    last = "; the last number, uniform on [0, 1), chooses the component" if deployed.mixed else ""
    facts = {"latents": f"(N, {width}) float32: {first}prior {prior}{last}"}
    if len(deployed.class_counts):
        facts |= {"labels": f"(N,) int64, 0 to {len(names) - 1}", "classes": names}
    shape = state["data"]["shape"]
    unit = ", images in [-1, 1]" if len(shape) == 3 else ""
    return facts | {"samples": f"(N, {', '.join(map(str, shape))}) float32{unit}", "step": state["step"]}


def program(deployed: "Deployed") -> "ExportedProgram":
    """(N, Z) latents, and (N,) labels where the run is conditional -> (N, *data shape), for any N.

    RunError where torch cannot trace the generator, or the program computes something else.
    """
    import torch

    draws = torch.Generator().manual_seed(0)
    net, latents, labels = caller(deployed), deployed.latents(EXAMPLES, draws), deployed.labels(EXAMPLES, draws)
    inputs = (latents, labels) if len(deployed.class_counts) else (latents,)
    any_number = tuple({0: torch.export.Dim("N", min=1, max=2**31 - 1)} for _ in inputs)
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # it would tell at length what is told below in a sentence
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            traced = torch.export.export(net, inputs, dynamic_shapes=any_number)
        found = [run_seeded(each, inputs) for each in (traced.module(), net)]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    except Exception as error:  # whatever torch raises of a module that it cannot trace
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(f"torch.export cannot make a program of this generator: {reason}") from error
    return traced


def caller(deployed: "Deployed") -> "nn.Module":
    """The generator with the arguments that a program is to have; of a mixture all components draw."""
    from torch import Tensor, nn

    from gantool.game.meta import Mixture

    generator = deployed.generator.eval().requires_grad_(False)
    draw = generator.drawn_by_all if isinstance(generator, Mixture) else generator

    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = generator

        def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
            return draw(latents, labels)

    class Unconditional(Conditional):
        def forward(self, latents: Tensor) -> Tensor:  # type: ignore[override]
            return draw(latents, latents.new_full((latents.shape[0],), -1).long())

    return Conditional() if len(deployed.class_counts) else Unconditional()


def run_seeded(net: Any, inputs: tuple[Any, ...]) -> Any:
    """What it draws, with the same noise each time where there is noise inside."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net(*inputs)


def save(traced: "ExportedProgram", facts: dict[str, Any], stream: BinaryIO) -> None:
    import torch

    whole = io.BytesIO()  # torch ends the process where what it writes to fails
    torch.export.save(traced, whole, extra_files={FACTS: json.dumps(facts, indent=2)})
    stream.write(whole.getbuffer())
