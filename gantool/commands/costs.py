"""What each trick costs: time of a training step with it, relative to none. `python -m gantool.commands.costs`.

The steps of all tricks take turns, so that a machine that is busy for a while is busy for all of them, and medians are
compared. Writes a section of outputs/PERFORMANCE.md.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gantool.commands.doctor import cpu_model
from gantool.config.schema import conf_dir
from gantool.errors import UsageError
from gantool.runs.folder import write_atomically

HEADING = "## What each trick costs"
TEXT = """\
{heading}

Time of one alternating step with each trick at its default settings, as a multiple of that without, {plain:.0f} ms: the
median over {rounds} rounds, in which all of them take turns, of the ratio to the plain step of the same round.
`architecture=dcgan dataset=shapes`, 32 x 32 pixels in colour, `batch_size={batch}`, {machine}.
Made by `make costs`, which is `python -m gantool.commands.costs`.

| trick | time of a step |
|---|---|
"""
SETTINGS = ("dataset=shapes", "dataset.size=2000", "architecture=dcgan", "steps=1000000")


class Runner:
    """A game with one trick, or none, and how long its steps took."""

    def __init__(self, name: str, config: dict[str, Any], images: Any, device: str):
        import torch

        from gantool.commands.planning import make_update
        from gantool.config.build import Builder
        from gantool.engine.precision import choose_device

        torch.manual_seed(0)
        self.name, self.times = name, list[float]()
        builder = Builder(budget_steps=config["steps"])
        self.device = choose_device(device)
        self.game = builder.game(config, images.shape, images.num_classes, builder.source(config, images, flip=False))
        self.game = self.game.to(self.device)
        self.players = builder.players(self.game, config["optimizer"])
        self.update = make_update(config, ())
        self.batches = self.update.real_batches(self.game)
        self.game.source.reserve(self.batches)  # type: ignore[attr-defined]

    def step(self) -> float:
        """Seconds of one step, the device included."""
        import torch

        self.game.source.prepare(self.batches)  # type: ignore[attr-defined]
        self._wait(torch)
        began = time.perf_counter()
        self.game.begin(len(self.times))
        self.update(self.game, *self.players)
        self._wait(torch)
        self.times.append(time.perf_counter() - began)
        return self.times[-1]

    def _wait(self, torch: Any) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("gantool costs", description="Measure what each trick costs, and write it down.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of gantool train, such as batch_size=16")
    parser.add_argument("--rounds", type=int, default=11, help="steps with each trick; default %(default)s")
    parser.add_argument("--device", default="auto", help="as gantool train takes it; default %(default)s")
    parser.add_argument("--page", type=Path, default=Path("outputs/PERFORMANCE.md"), help="default %(default)s")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        raise UsageError("--rounds must be at least 1")
    runners = list(build(options.overrides, options.device))
    for _ in range(options.rounds + 1):
        for runner in runners:
            runner.step()
    text = section(runners, options.overrides)
    page = options.page.read_text("utf-8") if options.page.exists() else "# Performance\n"
    write_atomically(options.page, lambda file: file.write(placed(page, text).encode()))
    print(options.page)
    return 0


def build(overrides: Sequence[str], device: str) -> Iterator[Runner]:
    """None, then every trick of conf/trick."""
    from gantool.config.build import Builder

    images = Builder().make("dataset", composed(*overrides)["dataset"]).load("train")
    yield Runner("none", composed(*overrides), images, device)
    for path in sorted((conf_dir() / "trick").glob("*.yaml")):
        yield Runner(path.stem, composed(f"trick=[{path.stem}]", *overrides), images, device)


def composed(*overrides: str) -> dict[str, Any]:
    """As `gantool train` would."""
    import hydra
    from omegaconf import OmegaConf

    import gantool.config.resolvers  # noqa: F401 (registers what the YAML files call)

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("train", [*SETTINGS, *overrides]), resolve=True)  # type: ignore


def section(runners: Sequence[Runner], overrides: Sequence[str]) -> str:
    """The first step of each is left out: kernels are chosen and memory is found in it."""
    import torch

    plain, *others = runners
    batch = composed(*overrides)["batch_size"]
    on_cpu = plain.device.type == "cpu"
    machine = (
        f"{cpu_model()}, {torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name(plain.device)
    )
    median = 1000 * statistics.median(plain.times[1:])
    head = TEXT.format(
        heading=HEADING, rounds=len(plain.times) - 1, plain=median, batch=batch,
        machine=f"fp32, {machine}, torch {torch.__version__.split('+')[0]}",
    )  # fmt: skip
    ratios = {each.name: relative(each.times[1:], plain.times[1:]) for each in others}
    return head + "".join(f"| `{name}` | {ratio:.2f} |\n" for name, ratio in sorted(ratios.items()))


def relative(times: Sequence[float], plain: Sequence[float]) -> float:
    """Median ratio of two steps of one round."""
    return statistics.median(mine / other for mine, other in zip(times, plain, strict=True))


def placed(page: str, text: str) -> str:
    """The page with this section in place of the one that it had, or at its end."""
    before, found, after = page.partition(HEADING)
    following = after[after.find("\n## ") + 1 :] if "\n## " in after else ""
    return before + text + ("\n" + following if following else "") if found else page.rstrip("\n") + "\n\n" + text


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
