"""Images are decoded once: all pixels of a split in one array on disk, which is mapped, not read."""

import hashlib
import json
import logging
import mmap
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from gantool.datasets.folder_decoding import decode_all, try_decode
from gantool.datasets.folder_listing import File, readable
from gantool.errors import RunError, UsageError
from gantool.game import memory
from gantool.game.images import fingerprint
from gantool.game.types import Images

logger = logging.getLogger(__name__)

VERSION = 2  # raise it when decoding changes
HEADER = 128  # bytes before the pixels of our .npy
STALE = 7 * 24 * 3600.0  # seconds after which what a killed job left is removed


class Prepared(NamedTuple):
    """The pixels of a split."""

    pixels: Tensor  # uint8 (M, C, H, W), writable; a private map of the file
    skipped: dict[str, str]  # path of each image that is not among them -> reason


def prepare(root: Path, files: Sequence[File], resolution: int, channels: int, cache: Path) -> Prepared:
    """From the cache if it has them whole, else decoded and kept there; in memory if that cannot be.

    An entry appears under its name complete or not at all, so jobs may prepare the same folder at the same time.
    """
    entry = cache / _key(root, files, resolution, channels)
    found = _read(entry, files)
    refused = [root / path for path, reason in found.skipped.items() if reason.startswith("[Errno")] if found else []
    if found is not None and all(isinstance(try_decode(path, resolution, channels), str) for path in refused):
        return found  # no disk that was away is there again
    logger.info("decoding %d images of '%s'", len(files), root)
    try:
        return _decode_to_disk(entry, root, files, (channels, resolution, resolution))
    except OSError as error:
        if found is not None:
            return found
        why = f"cannot keep decoded images in '{cache}' ({error.strerror or error})"
        if len(files) * channels * resolution**2 > memory.of_machine() / 2:
            remedy = "memory is too small for them: set dataset.cache=FOLDER on a larger disk"
            raise RunError(f"{why}, and {remedy}") from error
        logger.warning("%s: they stay in memory", why)
        return _decode_to_memory(root, files, (channels, resolution, resolution))


def _key(root: Path, files: Sequence[File], resolution: int, channels: int) -> str:
    listing = json.dumps([VERSION, str(root), resolution, channels, files])
    return hashlib.blake2b(listing.encode(), digest_size=12).hexdigest()


def _read(entry: Path, files: Sequence[File]) -> Prepared | None:
    """None if there is none or it is not whole."""
    try:
        index = json.loads((entry / "index.json").read_text("utf-8"))
        array = np.load(entry / "pixels.npy", mmap_mode="c")
        if array.nbytes > memory.of_machine() / 2 and hasattr(mmap, "MADV_RANDOM"):
            array.base.madvise(mmap.MADV_RANDOM)  # else the disk reads 32 pages about each that is asked for
        pixels = torch.from_numpy(array)
        found = Prepared(pixels, dict(index["skipped"]))
        whole = len(pixels) == len(files) - len(found.skipped) and _fingerprint(pixels) == index["fingerprint"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        whole = False
    if not whole:
        logger.info("'%s' is damaged: the images are decoded again", entry)
    return found if whole else None


def _fingerprint(pixels: Tensor) -> str:
    return fingerprint(Images(pixels, torch.empty(0, dtype=torch.int64)))


def _decode_to_disk(entry: Path, root: Path, files: Sequence[File], shape: tuple[int, ...]) -> Prepared:
    cache = entry.parent
    cache.mkdir(parents=True, exist_ok=True)
    _remove_stale(cache)
    if shutil.disk_usage(cache).free < HEADER + len(files) * np.prod(shape):
        raise OSError("the disk is too full")
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache, ignore_cleanup_errors=True) as spare:
        made = Path(spare) / "entry"
        made.mkdir()
        with open(made / "pixels.npy", "wb") as file:
            file.seek(HEADER)
            skipped = _decode(root, files, shape, lambda image: file.write(image.tobytes()))
            file.seek(0)
            file.write(_header((len(files) - len(skipped), *shape)))
            file.flush()
            os.fsync(file.fileno())
        mark = _fingerprint(torch.from_numpy(np.load(made / "pixels.npy", mmap_mode="c")))
        index = {"source": str(root), "skipped": skipped, "fingerprint": mark}
        (made / "index.json").write_text(json.dumps(index, indent=1), "utf-8")
        return _publish(made, entry, files, len(skipped))


def _publish(made: Path, entry: Path, files: Sequence[File], skipped: int) -> Prepared:
    """Another job may have been faster, which is as well; an entry that is damaged or lacks more makes room."""
    there = _read(entry, files)
    if there is None or len(there.skipped) > skipped:
        shutil.rmtree(entry, ignore_errors=True)
        with suppress(OSError):
            made.rename(entry)
    found = _read(entry, files)
    if found is None:
        raise OSError("what was written cannot be read back")
    return found


def _decode_to_memory(root: Path, files: Sequence[File], shape: tuple[int, ...]) -> Prepared:
    pixels = np.empty((len(files), *shape), np.uint8)
    rows = iter(pixels)

    def keep(image: np.ndarray) -> None:
        next(rows)[:] = image

    skipped = _decode(root, files, shape, keep)
    return Prepared(torch.from_numpy(pixels[: len(files) - len(skipped)]), skipped)


def _decode(
    root: Path, files: Sequence[File], shape: tuple[int, ...], keep: Callable[[np.ndarray], object]
) -> dict[str, str]:
    """Each image that can be read goes to `keep`, in order; returns the others with the reason."""
    skipped = {}
    images = decode_all([root / file.path for file in files], shape[-1], shape[0])
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("ignore")  # of Pillow, about odd files
        for file, image in zip(files, bar.track(images, len(files), description="decoding images"), strict=True):
            if isinstance(image, str):
                skipped[file.path] = image
            else:
                keep(image)
    if len(skipped) == len(files):
        name, reason = next(iter(skipped.items()))
        raise UsageError(
            f"dataset.path: none of the {len(files)} images of '{root}' can be read ({readable(name)}: {reason}): "
            "give a folder of whole ones"
        )
    return skipped


def _header(shape: tuple[int, ...]) -> bytes:
    """Of a .npy file of bytes, format 1.0, always as long: the number of images is known only when all are decoded."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def _remove_stale(cache: Path) -> None:
    for folder in cache.glob("tmp-*"):
        with suppress(OSError):
            if folder.stat().st_mtime < time.time() - STALE:
                shutil.rmtree(folder, ignore_errors=True)
