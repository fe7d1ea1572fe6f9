"""A classifier that is trained once on a labelled dataset and kept: a judge of classes, and a space of features."""

import logging
import sys
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from gantool.errors import UsageError
from gantool.features.cache import digest, kept
from gantool.features.network import Network
from gantool.game.images import fingerprint
from gantool.game.types import Dataset, Device, Images

log = logging.getLogger(__name__)

VERSION = 1  # raise it when what is trained, or how, changes
BATCH, AT_ONCE = 128, 500  # examples in a step of training, and of use
EPOCHS = {1: 2, 3: 8}  # by channels: colour images take longer to learn than grey ones
SHOWN = 50_000  # examples, at least: those of small datasets are shown more often
RATE, DECAY = 0.01, 0.05  # of AdamW; the rate rises and falls once (Smith and Topin 2018)


class Classifier:
    """Names the class of an example; `accuracy` is the share of the test split where it is right.

    The same data give the same one on a CPU, whatever else is random; `fingerprint` tells one from another.
    """

    def __init__(self, dataset: Dataset, device: Device = None):
        train, test = _labelled(dataset.load("train")), _labelled(dataset.load("test"))
        if len(train.pixels) < 2 or not len(test.pixels):
            raise UsageError("a classifier needs labelled examples in both splits, and this dataset lacks them")
        self.device, self.examples = device or torch.device("cpu"), len(train.pixels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would set those of GPUs too
            self.net = Network(train.shape, train.num_classes).to(self.device)
        key = [VERSION, fingerprint(train), fingerprint(test), train.num_classes, dataset.flip]
        state = kept("classifier", key, lambda: self._train(train, test, dataset.flip))
        self.net.load_state_dict(state["weights"])
        self.net.eval()
        self.accuracy = float(state["accuracy"])
        self.fingerprint = digest(state["weights"])

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As a dataset holds them, (N, *data shape) -> features (N, F), logits (N, classes), all on the CPU."""
        found = [self.net(part.to(self.device)) for part in pixels.split(AT_ONCE)]
        features, logits = zip(*found, strict=True)
        return torch.cat(features).cpu(), torch.cat(logits).cpu()

    def classes(self, pixels: Tensor) -> Tensor:
        """(N, *data shape) -> (N,)"""
        return self(pixels)[1].argmax(dim=1)

    def facts(self) -> dict[str, Any]:
        return {"features": "classifier", "fingerprint": self.fingerprint, "judge_accuracy": self.accuracy}

    def _train(self, train: Images, test: Images, flip: bool) -> dict[str, object]:
        log.info("training a classifier of %d classes on %d examples, once", train.num_classes, len(train.pixels))
        fit(self.net, train, flip, self.device)
        self.net.eval()
        accuracy = float((self.classes(test.pixels) == test.labels).double().mean())
        log.info("it names %.2f %% of the test examples", 100 * accuracy)
        return {"weights": {name: value.cpu() for name, value in self.net.state_dict().items()}, "accuracy": accuracy}


def fit(net: Network, images: Images, flip: bool, device: torch.device) -> None:
    """With the examples shifted by up to an eighth of their side, and mirrored where the dataset says so."""
    draw = torch.Generator().manual_seed(0)
    size = len(images.pixels)
    batch, epochs = min(BATCH, size), EPOCHS.get(images.shape[0], 2) if len(images.shape) == 3 else 2
    steps = max(epochs * size, SHOWN) // batch
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.25)
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    order = torch.empty(0, dtype=torch.int64)
    net.train()
    with torch.enable_grad(), bar:
        for _ in bar.track(range(steps), description="training a classifier"):
            if len(order) < batch:
                order = torch.cat([order, torch.randperm(size, generator=draw)])
            pick, order = order[:batch], order[batch:]
            pixels = _varied(images.pixels[pick], flip, draw).to(device)
            loss = F.cross_entropy(net(pixels)[1], images.labels[pick].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _varied(pixels: Tensor, flip: bool, draw: torch.Generator) -> Tensor:
    """Images shifted, their edges repeated, and perhaps mirrored; points as they are."""
    if pixels.dim() != 4:
        return pixels
    n, channels, height, width = pixels.shape
    most = min(height, width) // 8
    rows = (torch.arange(height) + torch.randint(-most, most + 1, (n, 1), generator=draw)).clamp(0, height - 1)
    columns = (torch.arange(width) + torch.randint(-most, most + 1, (n, 1), generator=draw)).clamp(0, width - 1)
    if flip:
        columns = torch.where(torch.rand(n, 1, generator=draw) < 0.5, columns, columns.flip(1))
    example, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(channels).view(1, channels, 1, 1)
    return pixels[example, channel, rows.view(n, 1, height, 1), columns.view(n, 1, 1, width)]


def _labelled(images: Images) -> Images:
    known = images.labels >= 0
    return images if bool(known.all()) else images._replace(pixels=images.pixels[known], labels=images.labels[known])


class Distrusted(UsageError):
    """A classifier is right too rarely."""


def trusted(dataset: Dataset, option: str, key: str, floor: float, device: Device = None) -> Classifier:
    """The dataset's classifier, for the setting `option`; Distrusted where it is right less often than `key` asks."""
    if len(dataset.names) < 2:
        raise UsageError(f"{option} needs a dataset with classes; drop it for this one")
    classifier = Classifier(dataset, device)
    if classifier.accuracy < floor:
        raise Distrusted(
            f"{option}: the classifier that was trained on this dataset names the class of a share of "
            f"{classifier.accuracy:.3f} of the test examples, and {key}={floor} asks for more: lower it, or drop "
            "the metric"
        )
    return classifier
