"""Published datasets that torchvision reads and downloads."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from gantool.errors import UsageError
from gantool.game.images import check_split, resize, to_channels
from gantool.game.ranges import Count, Natural
from gantool.game.types import Images
from gantool.runs.downloads import patience
from gantool.runs.places import absolute

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """What is known of a dataset before it is read."""

    maker: str  # its class in torchvision.datasets
    folder: str  # where its files lie below the root
    names: tuple[str, ...]


SETS = {
    "mnist": Known("MNIST", "MNIST/raw", tuple("0123456789")),
    "fashion_mnist": Known(
        "FashionMNIST",
        "FashionMNIST/raw",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": Known(
        "CIFAR10",
        "cifar-10-batches-py",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}


class TorchvisionSet:
    """MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017) or CIFAR-10 (Krizhevsky 2009), as they were split."""

    def __init__(
        self,
        name: Literal["mnist", "fashion_mnist", "cifar10"],
        root: str,
        resolution: Count,
        channels: Literal[1, 3],
        download: bool = True,
        flip: bool = False,
        held_out: Natural = 0,
    ):
        self.known = SETS[name]
        self.shape = (channels, resolution, resolution)
        self.names = self.known.names
        self.flip, self.held_out = flip, held_out
        self.name, self.download = name, download
        self.root = absolute(root)

    def load(self, split: str = "train") -> Images:
        """Also "validation", where the last `held_out` training examples are kept for it."""
        if split != "validation" or not self.held_out:
            check_split(split)
        data = self._read(train=split != "test")
        mine = slice(None) if split == "test" else self._part(split, len(data.data))
        pixels = torch.as_tensor(data.data[mine])
        pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
        pixels = to_channels(resize(pixels, self.shape[-1]), self.shape[0])
        return Images(pixels, torch.as_tensor(data.targets[mine]).long(), self.names)

    def _part(self, split: str, size: int) -> slice:
        """Of the training examples."""
        if self.held_out >= size:
            raise UsageError(f"dataset.held_out={self.held_out} leaves none of {size} examples to train on: give less")
        return slice(size - self.held_out) if split == "train" else slice(size - self.held_out, None)

    def _read(self, train: bool) -> Any:
        from torchvision import datasets

        maker = getattr(datasets, self.known.maker)
        try:
            return maker(self.root, train=train)
        except (RuntimeError, ValueError, TypeError, AssertionError, OSError) as error:  # whatever broken files lead to
            folder = self.root / self.known.folder
            trouble = f"{self.name} is {'damaged' if folder.exists() else 'missing'} in '{folder}'"
            if not self.download:
                raise UsageError(f"{trouble}: set dataset.download=true, or dataset.root to where it is") from error
        logger.info("%s: downloading it", trouble)
        self._fetch(maker, trouble)
        return maker(self.root, train=train)

    def _fetch(self, maker: Any, trouble: str) -> None:
        """Into a folder of its own, then moved file by file, so that jobs that download at once share no half file."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=self.root) as spare, patience():
                maker(spare, download=True)
                _move_files(Path(spare), self.root)
        except Exception as error:  # URLError, HTTPException, RuntimeError, TarError, ...: torchvision passes all on
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(
                f"{trouble}, and the download failed ({reason}): "
                "set dataset.root to the folder that has it, or copy its files there"
            ) from error


def _move_files(source: Path, target: Path) -> None:
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
