"""What lies in a folder of images: files, splits and classes, told by names alone."""

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gantool.errors import UsageError
from gantool.game.images import SPLITS

logger = logging.getLogger(__name__)

SUFFIXES = ("jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
ENDINGS = tuple(f".{suffix}" for suffix in SUFFIXES)
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".tga", ".psd", ".svg", ".dng", ".cr2", ".nef", ".arw", ".raw")
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")  # the first that is there
MADE = (("status.json", "config.yaml"), ("multirun.yaml",))  # are in the folder of a run or sweep
SHOWN = 5  # folders that are named at once


class File(NamedTuple):
    """An image, or what claims to be one. The three together tell whether it has changed."""

    path: str  # relative to the root, with slashes
    size: int  # bytes; -1 = cannot be asked
    mtime_ns: int


class Listing(NamedTuple):
    """A folder of images, taken apart."""

    splits: Mapping[str, Sequence[File]]  # "train" and "test"; the latter may be empty
    names: tuple[str, ...]  # classes; () if there are none
    level: int  # part of a path that names its class

    def labels(self, files: Sequence[File]) -> list[int]:
        number = {name: label for label, name in enumerate(self.names)}
        return [number.get(readable(file.path.split("/")[self.level]), -1) for file in files]


def list_folder(root: Path, test_share: float) -> Listing:
    """Folders train/ and test/ (or val/) at the top are the splits; else `test_share` of the images is held out.

    The folders below are the classes, if there are at least two and no image lies beside them.
    """
    files = _images(root)
    tops = {_top(file) for file in files}
    train, test = (next((name for name in names if name in tops), None) for names in (TRAIN, TEST))
    level = 1 if train and (test or len(tops) == 1) else 0
    splits = _own_splits(files, train, test) if train and test else _hold_out(files, test_share)
    return Listing(splits, _classes([file.path for split in splits.values() for file in split], level), level)


def readable(name: str) -> str:
    """Names that are not UTF-8 come from the system with surrogates, which nothing can print."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _classes(paths: Sequence[str], level: int) -> tuple[str, ...]:
    strays = [path for path in paths if path.count("/") <= level]
    folders = sorted({readable(path.split("/")[level]) for path in paths if path.count("/") > level})
    if len(folders) < 2:
        return ()
    if strays:
        several = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        more = ", ..." if len(folders) > SHOWN else ""
        logger.info(
            "'%s'%s beside the folders %s%s: so these are no classes",
            readable(strays[0]), several, ", ".join(folders[:SHOWN]), more,
        )  # fmt: skip
    return () if strays else tuple(folders)


def _top(file: File) -> str:
    return file.path.partition("/")[0].lower() if "/" in file.path else ""


def _own_splits(files: Sequence[File], train: str, test: str) -> dict[str, list[File]]:
    folders = dict(zip(SPLITS, (train, test), strict=True))
    splits = {split: [file for file in files if _top(file) == folder] for split, folder in folders.items()}
    ignored = len(files) - sum(map(len, splits.values()))
    if ignored:
        logger.warning("%d images outside %s/ and %s/ are not used", ignored, train, test)
    return splits


def _hold_out(files: Sequence[File], share: float) -> dict[str, list[File]]:
    """At least one image for each split if any is held out. A file that is added moves few others across."""
    if not share:
        return {"train": list(files), "test": []}
    if share == 1 or len(files) == 1:
        of = "the only image" if len(files) == 1 else f"{len(files):,} images"
        raise UsageError(f"dataset.test_share={share:g} of {of} leaves none to train on: hold out fewer")
    count = min(max(1, round(share * len(files))), len(files) - 1)
    lots = sorted(files, key=lambda file: hashlib.blake2b(os.fsencode(file.path)).digest())
    test = set(lots[:count])
    return {"train": [file for file in files if file not in test], "test": [file for file in files if file in test]}


def _images(root: Path) -> list[File]:
    """All images below a folder, sorted by path. Raises UsageError if there are none."""
    if not os.path.exists(root):
        raise UsageError(f"dataset.path: there is no folder '{root}': give dataset.path=FOLDER, where the images are")
    if not os.path.isdir(root):
        raise UsageError(
            f"dataset.path: '{root}' is a file: give the folder that holds the images (unpack archives first)"
        )
    files = list(_walk(root))
    images = sorted(file for file in files if file.path.lower().endswith(ENDINGS))
    if not images:
        found = f"no image ({', '.join(SUFFIXES)}) among its files, which are {len(files):,}" if files else "no file"
        raise UsageError(f"dataset.path: '{root}' holds {found}: give a folder of images")
    unread = [file.path for file in files if os.path.splitext(file.path)[1].lower() in UNREAD]
    if unread:
        first, more = readable(unread[0]), f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        logger.warning("left out, being of kinds that are not read: '%s'%s; convert them", first, more)
    return images


def _walk(root: Path) -> Iterator[File]:
    """Every file below a folder but hidden ones. No folder is visited twice, so links that go round in circles end."""
    folders, links, seen = [""], list[str](), set[tuple[int, int]]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # links last: an image goes by its own name if it has one
        place = os.stat(root / folder)
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        for entry in _entries(root, folder):
            path = f"{folder}/{entry.name}".lstrip("/")
            try:
                info = entry.stat()
            except OSError:  # a dangling link: counted as a broken image
                yield File(path, -1, 0)
                continue
            if stat.S_ISDIR(info.st_mode):
                if any(all(os.path.exists(root / path / name) for name in names) for names in MADE):
                    logger.warning("what gantool has written into '%s' is no part of the data", root / readable(path))
                    continue
                (links if entry.is_symlink() else folders).append(path)
            elif stat.S_ISREG(info.st_mode):
                yield File(path, info.st_size, info.st_mtime_ns)


def _entries(root: Path, folder: str) -> list[os.DirEntry[str]]:
    """Sorted. Hidden ones, among them the `._x` that macOS leaves beside each file, are nobody's images."""
    try:
        with os.scandir(root / folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        if not folder:
            raise UsageError(f"dataset.path: cannot read '{root}' ({error.strerror})") from error
        logger.warning("cannot read the folder '%s' (%s): not used", root / readable(folder), error.strerror)
        return []
