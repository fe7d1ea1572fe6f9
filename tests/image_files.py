"""Image files and folders for tests."""

from pathlib import Path

from PIL import Image

from gantool.datasets.folder import Folder
from gantool.game.types import Images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, colour=RED, size=(20, 16), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def colours(images: Images) -> list[tuple[int, ...]]:
    """The colour in the middle of each image of 8 x 8 pixels."""
    return [tuple(image[:, 4, 4].tolist()) for image in images.pixels]


def load(root: Path, split="train", **options) -> Images:
    return Folder(str(root), **{"resolution": 8, **options}).load(split)
