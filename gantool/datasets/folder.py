"""The user's own images."""

import logging
from typing import Literal

import torch

from gantool.datasets.folder_cache import prepare
from gantool.datasets.folder_listing import list_folder, readable
from gantool.errors import UsageError
from gantool.game.images import check_split
from gantool.game.ranges import Count, Share
from gantool.game.types import Images
from gantool.runs.places import absolute, cache_root

logger = logging.getLogger(__name__)

NAMED = 3  # images or classes that a warning names


class Folder:
    """Any tree of images, of any sizes and modes; classes and splits from the names of its folders.

    Listed when made; decoded at the first `load` of a split, and kept. Images that cannot be read are left out, with
    one warning. Raises UsageError where there is no image.
    """

    def __init__(
        self,
        path: str,
        resolution: Count = 64,
        channels: Literal[1, 3] = 3,
        flip: bool = False,
        test_share: Share = 0.0,
        cache: str | None = None,
    ):
        if not path:
            raise UsageError("missing value: give dataset.path=FOLDER, a folder of images")
        self.root = absolute(path)
        self.cache = (absolute(cache) if cache else cache_root()) / "folder"
        self.listing = list_folder(self.root, test_share)
        self.shape = (channels, resolution, resolution)
        self.names = self.listing.names
        self.flip = flip

    def load(self, split: str = "train") -> Images:
        check_split(split)
        files = self.listing.splits[split]
        if not files:
            raise UsageError(
                f"'{self.root}' has no test images: make folders train/ and test/ in it, or hold some out in training "
                "with dataset.test_share=0.1"
            )
        pixels, skipped = prepare(self.root, files, self.shape[-1], self.shape[0], self.cache)
        if skipped:
            named = [f"{readable(name)} ({why})" for name, why in list(skipped.items())[:NAMED]]
            first = ", ".join(named) + (", ..." if len(skipped) > NAMED else "")
            images = "images" if split == "train" else "test images"
            logger.warning("skipped %d of %d %s that cannot be read: %s", len(skipped), len(files), images, first)
            if len(skipped) > NAMED:
                every = "".join(f"\n  {readable(name)}: {why}" for name, why in skipped.items())
                logger.info("skipped:%s", every, extra={"file_only": True})
        labels = self.listing.labels([file for file in files if file.path not in skipped])
        seen = set(labels)
        empty = [name for label, name in enumerate(self.names) if label not in seen]
        if split == "train" and empty:
            logger.warning("there is no image to train on of the classes %s", ", ".join(empty[:NAMED]))
        return Images(pixels, torch.tensor(labels), self.names)
