"""How each metric moves when samples get worse in a known way: `python -m gantool.commands.corruptions`.

Samples are real images, blurred, with noise, without some of the classes, or copies of training examples, at growing
strength. Writes outputs/METRICS.md.
"""

import argparse
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.config.compose import composed
from gantool.config.schema import conf_dir
from gantool.errors import RunError
from gantool.runs.folder import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from gantool.game.types import Images

HEAD = """\
# How the metrics move

Made by `make metrics`, which is `python -m gantool.commands.corruptions`: the digits of `dataset=digits` in three parts
of {size} that share none, one to train on, one to test on, and one as the samples of a perfect generator; then these
samples made worse. **Bold**: the column moves with each step of the damage, and the way that it should.
[README.md](README.md) says what the columns are.

"""
NOTES = """
The first row is the floor: what other real images of that number score. Copies of the training images, in the last
row, look better still to all metrics but `memorization`, `copied` and `nearest_train`. Features are those of gantool's
own classifier (`features=classifier`).
"""
STRENGTHS: dict[str, dict[float, str]] = {  # what is done to the samples -> how strongly, and what that is called
    "blur": {0.5: "blur, 0.5 pixels", 1.0: "blur, 1 pixel", 2.0: "blur, 2 pixels"},
    "noise": {0.1: "noise, sd 0.1", 0.3: "noise, sd 0.3", 1.0: "noise, sd 1"},
    "dropping": {2: "2 of 10 classes missing", 5: "5 of 10 classes missing", 8: "8 of 10 classes missing"},
    "memorising": {0.25: "1/4 are training examples", 0.5: "1/2 are training examples", 1: "all are: real train"},
}
UP, DOWN = 1, -1
SHOULD: dict[str, dict[str, int]] = {  # where a column of the metric should move, as the damage grows
    "parzen": {"blur": DOWN, "noise": DOWN, "dropping": DOWN},
    "memorization": {"noise": DOWN, "memorising": UP},
    "copied": {"memorising": UP},
    "nearest_train": {"noise": UP, "memorising": DOWN},
    "ms_ssim": {"blur": UP, "noise": DOWN, "dropping": UP},
    "class_kl": {"dropping": UP},
    "fid": {"blur": UP, "noise": UP, "dropping": UP},
    "kid": {"blur": UP, "noise": UP, "dropping": UP},
    "inception_score": {"blur": DOWN, "noise": DOWN, "dropping": DOWN},
    "precision": {"blur": DOWN, "noise": DOWN},
    "recall": {"blur": DOWN, "noise": DOWN, "dropping": DOWN},
    "density": {"blur": DOWN, "noise": DOWN},
    "coverage": {"blur": DOWN, "noise": DOWN, "dropping": DOWN},
}
OF_DISCRIMINATOR = {"class_error", "divergence", "probe"}  # metrics that do not look at samples alone
Table = dict[str, dict[str, float]]  # name of a row -> column -> value
FLOOR = "fresh real images"


class Thirds:
    """A dataset in three parts that share no example: `train`, `test`, and `fresh` ones."""

    def __init__(self, dataset: Any):
        import torch

        self.shape, self.names, self.flip = dataset.shape, dataset.names, dataset.flip
        splits = [dataset.load(split) for split in ("train", "test")]
        pixels, labels = (torch.cat(each) for each in ([s.pixels for s in splits], [s.labels for s in splits]))
        self.size = len(labels) // 3
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).split(self.size)
        parts = zip(("train", "test", "fresh"), order, strict=False)
        self.parts = {name: splits[0]._replace(pixels=pixels[mine], labels=labels[mine]) for name, mine in parts}

    def load(self, split: str = "train") -> "Images":
        return self.parts[split]


class Drawn:
    """A generator that draws these images in turn, as metrics see it (gantool.game.types.Trained)."""

    def __init__(self, images: "Tensor"):
        import torch

        self.images, self.device = images, torch.device("cpu")
        self.made: dict[Hashable, Any] = {}

    def fakes(self, n: int, label: int | None = None) -> "Tensor":
        return self.images.repeat(-(-n // len(self.images)), 1, 1, 1)[:n]

    def batches(self, n: int) -> "Iterator[Tensor]":
        return iter(self.fakes(n).split(256))

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def report(self, what: str, done: int, total: int) -> None:
        """Nobody is told."""


def damaged(dataset: Thirds) -> Iterator[tuple[str, "Tensor"]]:
    """Name of a row, and samples (N, C, H, W) in [-1, 1]: the fresh ones first, then they made worse."""
    import torch
    from torchvision.transforms.functional import gaussian_blur

    from gantool.game.images import to_float

    fresh, train = dataset.load("fresh"), to_float(dataset.load("train").pixels)
    images = to_float(fresh.pixels)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    yield FLOOR, images
    for sigma, name in STRENGTHS["blur"].items():
        yield name, gaussian_blur(images, [7, 7], [sigma, sigma])
    for sd, name in STRENGTHS["noise"].items():
        yield name, (images + sd * noise).clamp(-1, 1)
    for missing, name in STRENGTHS["dropping"].items():
        yield name, images[fresh.labels >= missing]
    for share, name in STRENGTHS["memorising"].items():
        copies = round(share * len(images))
        yield name, torch.cat([train[:copies], images[copies:]])


def chosen(dataset: Thirds) -> dict[str, Any]:
    """Every metric of the shelf that looks at samples of such data alone, with settings for so small a set."""
    import torch

    from gantool.config.build import Builder
    from gantool.errors import UsageError
    from gantool.game.hooks import Objective

    settings = {"samples": dataset.size, "pairs": dataset.size // 2, "features": "classifier"}
    facts = {"conditional": False, "device": torch.device("cpu")}
    found = {}
    for name, node in shelf().items():
        metric = Builder().make(
            f"metric.{name}", node | {key: value for key, value in settings.items() if key in node}, None, facts
        )
        try:
            metric.check(dataset, Objective())
            found[name] = metric
        except UsageError:
            continue
    return found


def shelf() -> dict[str, Any]:
    """The metrics of samples and their settings, as `gantool train` has them."""
    names = sorted(path.stem for path in (conf_dir() / "metric").glob("*.yaml"))
    wanted = ",".join(name for name in names if name not in OF_DISCRIMINATOR)
    return composed(f"metric=[{wanted}]")["metric"]


def measure(dataset: Thirds) -> Table:
    import torch
    from rich.console import Console
    from rich.progress import track

    metrics, rows = chosen(dataset), list(damaged(dataset))
    table: Table = {name: {} for name, _ in rows}
    for name, images in track(rows, "measuring", console=Console(stderr=True)):
        drawn = Drawn(images)
        for metric in metrics.values():
            torch.manual_seed(0)  # for libraries that draw from torch's own generator
            table[name] |= metric(drawn, dataset)
    return table


def course(table: Table, column: str, damage: str) -> list[float]:
    """The column as the damage grows from none."""
    return [table[row][column] for row in (FLOOR, *STRENGTHS[damage].values())]


def moves(values: Sequence[float], way: int) -> bool:
    """Never back, and in the end somewhere else: UP or DOWN."""
    steps = [way * (after - before) for before, after in zip(values, values[1:], strict=False)]
    return min(steps) >= 0 and sum(steps) > 0


def page(table: Table, size: int) -> str:
    columns = [column for column in next(iter(table.values())) if column in SHOULD]
    lines = [HEAD.format(size=size), f"| samples | {' | '.join(f'`{column}`' for column in columns)} |\n"]
    lines.append("|---" * (1 + len(columns)) + "|\n")
    for row, values in table.items():
        damage = next((name for name, rows in STRENGTHS.items() if row in rows.values()), "")
        cells = (_cell(table, column, damage, values[column]) for column in columns)
        lines.append(f"| {row} | {' | '.join(cells)} |\n")
    return "".join(lines) + NOTES


def _cell(table: Table, column: str, damage: str, value: float) -> str:
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    way = SHOULD[column].get(damage)
    return f"**{text}**" if way and moves(course(table, column, damage), way) else text


def stuck(table: Table) -> Iterator[str]:
    """What does not move as it should: `fid under blur`."""
    for column, ways in SHOULD.items():
        for damage, way in ways.items():
            if column in table[FLOOR] and not moves(course(table, column, damage), way):
                yield f"{column} under {damage}"


def run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "gantool.commands.corruptions", description="Measure samples that get worse in known ways, and write it down."
    )
    parser.add_argument("--page", type=Path, default=Path("outputs/METRICS.md"), help="default %(default)s")
    options = parser.parse_args(argv)
    from gantool.datasets.digits import Digits

    dataset = Thirds(Digits())
    table = measure(dataset)
    text = page(table, dataset.size)
    write_atomically(options.page, lambda file: file.write(text.encode()))
    print(text)
    print(options.page)
    left = list(stuck(table))
    if left:
        raise RunError(f"these do not move as they should: {', '.join(left)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except RunError as error:
        sys.exit(str(error))
