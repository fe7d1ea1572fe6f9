"""`make performance`: measures what gantool promises of its speed, and writes outputs/PERFORMANCE.md.

Each section is measured by itself and takes the place of the one that the page had of this device.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from gantool.commands import bench, costs
from gantool.commands.bench import PAUSE, SUBJECT
from gantool.config.compose import composed
from gantool.errors import RunError, UsageError
from gantool.measure.process import Process
from gantool.measure.report import Report, machine, number, spelled
from gantool.measure.windows import Spread, Window, ratios, spread, take_turns
from gantool.runs import rows
from gantool.runs.folder import RunFolder, write_atomically

HEAD = """\
# Performance

Made by `make performance`. Medians; in brackets the quartiles.
"""
GOALS = {  # times as fast as the loop
    ("bench_mlp", "cpu"): 5.0, ("bench_dcgan", "cpu"): 2.5, ("bench_mlp", "cuda"): 50.0, ("bench_dcgan", "cuda"): 10.0,
}  # fmt: skip
PEAK_GOAL = 0.4  # share of the device's peak, of a DCGAN on a GPU
AGAINST = "against=loop"
COMPILED = "compile=step"
LOOPS = {  # rows of the table, by device
    "cpu": (("bench_mlp", AGAINST), ("bench_mlp", AGAINST, COMPILED), ("bench_dcgan", AGAINST)),
    "cuda": (
        ("bench_mlp", AGAINST), ("bench_mlp", AGAINST, COMPILED),
        ("bench_dcgan", AGAINST), ("bench_dcgan", AGAINST, COMPILED),
        ("bench_dcgan", "batch_size=1024", COMPILED),
    ),
}  # fmt: skip
COST_GOALS = {"ema": 1.03, costs.LAZY: 1.15, "instance_noise": 1.05}
OVERHEAD_GOAL = 0.02
BUDGET = {"cpu": 10_000, "cuda": 1_000_000}  # steps that take about two minutes
SHORTER = 10  # times as short is a run that is timed, which writes as much: so what it writes is not lost in the noise
SIZES, FLAT = (1_000, 10_000, 100_000, 1_000_000, 10_000_000), 0.1
STARTS = ("demo", "bench_dcgan")
SLOW = 3  # times as long are the windows of a DCGAN on the CPU, a step of whose loop takes more than a second


class Options(NamedTuple):
    rounds: int
    seconds: float
    images: str | None  # a folder of images for the DCGAN, where CIFAR-10 is not at hand

    device: str = "cpu"

    def heading(self, text: str) -> str:
        return f"## {text}" + (", on a GPU" if self.device == "cuda" else "")

    @property
    def settings(self) -> list[str]:
        return [f"device={self.device}"]


def run(argv: Sequence[str]) -> int:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the gantool command does
    parser = argparse.ArgumentParser("performance", description="Measure the speed, and write it down.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default all")
    parser.add_argument("--rounds", type=int, default=7, help="windows of each contender; default %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a window; default %(default)s")
    parser.add_argument("--images", help="a folder of images for the DCGAN, where CIFAR-10 is not at hand")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the CPU, and then a GPU if there is one")
    parser.add_argument("--page", type=Path, default=Path("outputs/PERFORMANCE.md"), help="default %(default)s")
    given = parser.parse_args(argv)
    unknown = [name for name in given.sections if name not in SECTIONS]
    if unknown or given.rounds < 1:
        parser.error(f"there is no section {unknown[0]!r}: {', '.join(SECTIONS)}" if unknown else "--rounds is below 1")
    for device, name in itertools.product([given.device] if given.device else devices(), given.sections or SECTIONS):
        began = time.monotonic()
        lines = []
        for line in SECTIONS[name](Options(given.rounds, given.seconds, given.images, device)):
            print(line, flush=True)
            lines.append(line)
        section = "\n".join([*lines, ""])
        page = placed(given.page.read_text("utf-8") if given.page.exists() else HEAD, section)
        write_atomically(given.page, lambda file, page=page: file.write(page.encode()))  # type: ignore[misc]
        print(f"\n({name}, {device}: {time.monotonic() - began:.0f} s)\n", flush=True)
    print(given.page)
    return 0


def devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def placed(page: str, section: str) -> str:
    """The page with this section in place of the one of its heading, or at its end."""
    heading = section.partition("\n")[0]
    before, found, after = page.partition(f"{heading}\n")
    following = after[after.find("\n## ") + 1 :] if "\n## " in after else ""
    return before + section + ("\n" + following if following else "") if found else page.rstrip("\n") + "\n\n" + section


# Sections: lines of Markdown, the heading first


def loops(options: Options) -> Iterator[str]:
    yield options.heading("Against the loops of the tutorials")
    yield ""
    yield "Images a second of gantool and of `gantool/baselines/`, in windows that take turns, and the ratio of the"
    yield "windows of a turn; the same networks, batch, optimiser and updates, the loop in float32, as it is usually"
    yield "written. `gantool bench SETTINGS`:"
    yield ""
    yield from table("settings", "on", "the loop", "gantool", "times as fast", "goal", "of the peak")
    for name, *more in LOOPS[options.device]:
        report = benched(options, name, *more)
        goal = f"{GOALS[name, options.device]:g}" if report.loop else f"{PEAK_GOAL:.0%} of the peak"
        yield row(report, spelled(report.loop["ratio"]) if report.loop else "", goal)


def row(report: Report, ratio: str, goal: str) -> str:
    theirs = spelled(report.loop["images_per_second"]) if report.loop else ""
    mine, share = spelled(report.images_per_second), f"{report.peak_share:.0%}"
    return cells(f"`{report.command}`", where(report.facts), theirs, mine, ratio, goal, share)


def where(facts: dict[str, Any]) -> str:
    return f"{machine(facts)}, torch {facts['torch']}"


def benched(options: Options, name: str, *more: str) -> Report:
    settings = [f"experiment={name}", *data(name, options), *options.settings, *more]
    seconds = options.seconds * (SLOW if (name, options.device) == ("bench_dcgan", "cpu") else 1)
    config = composed(*settings, f"rounds={options.rounds}", f"seconds={seconds}", command="bench")
    return bench.measured(config, " ".join(settings), None)


def data(name: str, options: Options) -> list[str]:
    """The published dataset where it is, else the images given, or shapes."""
    from gantool.datasets.torchvision_sets import SETS

    node = composed(f"experiment={name}")["dataset"]
    if (Path(node["root"]) / SETS[node["name"]].folder).exists():
        return []
    if name == "bench_dcgan" and options.images:
        return ["dataset=folder", f"dataset.path={options.images}", "dataset.resolution=64"]
    return ["dataset=shapes", f"dataset.resolution={node['resolution']}", f"dataset.channels={node['channels']}"]


def overhead(options: Options) -> Iterator[str]:
    from gantool.commands.planning import plan_of

    settings, budget = ["experiment=bench_mlp", *data("bench_mlp", options), *options.settings], BUDGET[options.device]
    config = composed(*settings, f"steps={budget}")
    tick = plan_of(config, ()).beat
    with Process(SUBJECT, {"play": "gantool", "config": config}) as process:
        process.answer()
        whole = Whole((*settings, f"steps={budget // SHORTER}", f"tick_every={tick // SHORTER}"))
        windows = take_turns([whole, Steps(process)], min(options.rounds, 5), 0.4 * budget // SHORTER, PAUSE)
        facts = process.ask("facts")
    lost = spread([(1 / ratio - 1) / SHORTER for ratio in ratios(*windows)])
    yield options.heading("What rows, grids and checkpoints cost")
    yield ""
    yield f"How much longer `gantool train {' '.join(settings)} steps={budget}` takes, with all that it writes at the"
    yield "defaults meanwhile, TensorBoard too, than as many steps alone. Measured on a run of a tenth of the steps,"
    yield f"`{' '.join(whole.settings[-2:])}`, which writes as many rows, grids and checkpoints: of what its fifth to"
    yield "eighth tenth take longer a tenth is counted. Microseconds of the host that every step takes are not in it."
    yield f"{where(facts)}:"
    yield ""
    yield f"**{percent(lost)}** (goal: at most {OVERHEAD_GOAL:.0%})"


def percent(values: Spread) -> str:
    return f"{values.median:.1%} ({values.low:.1%} to {values.high:.1%})"


class Steps(NamedTuple):
    """A contender whose windows are so many steps long, after as many: a process that waited begins slowly."""

    process: Process

    def window(self, steps: float) -> Window:
        self.process.ask("steps", count=int(steps))
        return Window(*self.process.ask("steps", count=int(steps)))


class Whole(NamedTuple):
    """`gantool train` itself. A window is its second so many steps, as its rows have timed them."""

    settings: tuple[str, ...]

    def window(self, steps: float) -> Window:
        count = int(steps)
        with tempfile.TemporaryDirectory(prefix="gantool-performance-") as folder:
            run = RunFolder(Path(folder) / "run")
            with bench.training(self.settings, run.root) as check:
                while 2 * count not in (seconds := {row["step"]: row["seconds"] for row in rows.read(run.rows)}):
                    check()
                    time.sleep(PAUSE)
        return Window(count, seconds[2 * count] - seconds[count])


def startup(options: Options) -> Iterator[str]:
    yield options.heading("Start-up")
    yield ""
    yield "From the start of the process, files cached: until the first step is done; the whole of `gantool sample`."
    yield ""
    yield from table("settings", "gantool train, first step", "gantool sample")
    for name in STARTS:
        settings = [f"experiment={name}", *(data(name, options) if name.startswith("bench") else []), *options.settings]
        seconds = bench.startup(settings)
        yield cells(f"`{' '.join(settings)}`", *(f"{each:.1f} s" for each in seconds.values()))


def growth(options: Options) -> Iterator[str]:
    config = composed("experiment=bench_mlp", *options.settings) | {"trust": ["gantool.measure"]}
    blank = {"_target_": "gantool.measure.blank.Blank", "resolution": 32, "channels": 3}
    tasks = []
    for size in SIZES:
        kept = {"data": "stream" if size == SIZES[-1] else "device", "dataset": blank | {"size": size}}
        tasks.append({"play": "gantool", "config": config | kept})
    windows, facts = in_turns(tasks, options.rounds, options.seconds / 2)
    yield options.heading("As the dataset grows")
    yield ""
    yield "Images a second of `experiment=bench_mlp` on colour images of 32 pixels, in turns. The largest set is read"
    yield "through `data=stream` from a file without blocks (the disk itself is not measured), the others lie on the"
    yield f"device. Goal: within {FLAT:.0%} of each other. {where(facts)}."
    yield ""
    yield from table("images", "GiB", "images/s", "of the smallest set's")
    for size, mine in zip(SIZES, windows, strict=True):
        rate = spread([config["batch_size"] * window.rate for window in mine])
        yield cells(
            f"{size:,}", number(size * 3 * 32 * 32 / 2**30), spelled(rate), spelled(spread(ratios(mine, windows[0])))
        )


def in_turns(tasks: Sequence[dict[str, Any]], rounds: int, seconds: float) -> tuple[list[list[Window]], dict[str, Any]]:
    """The windows of each, and the facts of the last."""
    with ExitStack() as stack:
        contenders = []
        for task in tasks:
            contenders.append(stack.enter_context(Process(SUBJECT, task)))
            contenders[-1].answer()
        return take_turns(contenders, rounds, seconds, PAUSE), contenders[-1].ask("facts")


def tricks(options: Options) -> Iterator[str]:
    import torch

    plain, *others = costs.measured(2 * options.rounds, options.settings)
    ((_, times),) = plain.times.items()
    milliseconds = spread([1000 * seconds for seconds in times[costs.WARM_UP :]])
    batch = plain.assembly.config["batch_size"]
    facts = plain.assembly.facts() | {
        "way": plain.assembly.way,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    yield options.heading("What each trick costs")
    yield ""
    yield f"Time of a step with each trick at its defaults, as a multiple of one without, {spelled(milliseconds)} ms,"
    yield f"step by step in turns. `{' '.join([*costs.SETTINGS, *options.settings])}`, batch of {batch},"
    yield f"{where(facts)}."
    yield ""
    yield from table("trick", "time of a step", "goal")
    for name, ratio in sorted((each.name, costs.relative(each.kinds, each.times, times)) for each in others):
        yield cells(f"`{name}`", f"{ratio:.2f}", f"{COST_GOALS[name]:.2f}" if name in COST_GOALS else "")


def table(*headings: str) -> Iterator[str]:
    yield cells(*headings)
    yield "|" + "---|" * len(headings)


def cells(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


SECTIONS: dict[str, Callable[[Options], Iterator[str]]] = {
    "loops": loops, "overhead": overhead, "startup": startup, "growth": growth, "tricks": tricks,
}  # fmt: skip

if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except RunError as error:
        sys.exit(str(error))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
