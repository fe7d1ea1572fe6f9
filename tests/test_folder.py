"""The user's own images: what is found, what it is called, what is skipped, and the cache."""

import errno
import json
import logging
import os
import re
import struct
import threading
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.datasets import folder_cache
from gantool.datasets.folder import Folder
from gantool.errors import RunError, UsageError
from image_files import BLUE, GREEN, RED, WHITE, colours, load, save


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "folder"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


# ------------------------------------------------------------------ what is found


def test_every_suffix_in_any_case_and_nothing_hidden(root):
    for i, suffix in enumerate(["jpg", "JPEG", "png", "WebP", "bmp", "gif", "tif", "TIFF", "ppm", "jfif"]):
        save(root / f"{i}.{suffix.lower()}").rename(root / f"{i}.{suffix}")
    for hidden in ("._0.jpg", ".thumbs/a.png", "deep/.x/b.png", "__MACOSX/._c.png"):
        save(root / hidden)
    (root / "notes.txt").write_text("not an image", "utf-8")
    (root / "folder.png").mkdir()
    save(root / "folder.png" / "deep.png")
    os.mkfifo(root / "pipe.png")
    files = [file.path for file in Folder(str(root)).listing.splits["train"]]
    expected = [
        "0.jpg",
        "1.JPEG",
        "2.png",
        "3.WebP",
        "4.bmp",
        "5.gif",
        "6.tif",
        "7.TIFF",
        "8.ppm",
        "9.jfif",
        "folder.png/deep.png",
    ]
    assert files == expected
    for colour in colours(load(root)):
        assert colour == pytest.approx(RED, abs=3)


def test_links_are_followed_but_not_for_ever(root, tmp_path):
    save(root / "real" / "a.png")
    save(tmp_path / "elsewhere" / "b.png")
    (root / "real" / "up").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    (root / "again").symlink_to(root / "real", target_is_directory=True)
    (root / "other").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "c.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    files = [file.path for file in Folder(str(root)).listing.splits["train"]]
    assert files == ["c.png", "other/b.png", "real/a.png"]


def test_labels_from_folders(root):
    for name, colour in {"cat/1.png": RED, "cat/deep/2.png": GREEN, "ant/3.png": BLUE, "zoo/4.png": WHITE}.items():
        save(root / name, colour)
    dataset = Folder(str(root), resolution=8, channels=1)
    assert dataset.names == ("ant", "cat", "zoo") and dataset.shape == (1, 8, 8)
    images = dataset.load()
    assert images.labels.tolist() == [0, 1, 1, 2] and images.names == dataset.names
    assert images.pixels[:, 0, 4, 4].tolist() == [29, 76, 150, 255]  # ITU-R 601 of blue, red, green, white
    save(root / "5.png")
    assert Folder(str(root)).names == () and load(root).labels.tolist() == [-1] * 5


def test_one_folder_is_no_class(root):
    save(root / "all" / "1.png")
    assert Folder(str(root)).names == ()


def test_train_and_test_folders_are_the_splits(root, caplog):
    caplog.set_level("WARNING")
    for name, colour in {
        "Train/b/1.png": RED,
        "Train/a/2.png": GREEN,
        "test/a/3.png": BLUE,
        "test/c/4.png": WHITE,
    }.items():
        save(root / name, colour)
    dataset = Folder(str(root), resolution=8, test_share=0.5)
    assert dataset.names == ("a", "b", "c")
    assert colours(dataset.load("train")) == [GREEN, RED] and dataset.load("train").labels.tolist() == [0, 1]
    assert colours(dataset.load("test")) == [BLUE, WHITE] and dataset.load("test").labels.tolist() == [0, 2]
    assert [record.getMessage() for record in caplog.records] == ["there is no image to train on of the classes c"] * 2
    save(root / "val" / "a" / "5.png")
    assert len(load(root).pixels) == 2
    assert "1 images outside train/ and test/ are not used" in caplog.text


@pytest.mark.parametrize("held_out", ["val", "Valid", "validation"])
def test_a_validation_folder_is_the_test_split_where_there_is_no_other(root, held_out):
    for name, colour in {"train/a/1.png": RED, "train/b/2.png": GREEN, f"{held_out}/b/3.png": BLUE}.items():
        save(root / name, colour)
    dataset = Folder(str(root), resolution=8)
    assert dataset.names == ("a", "b")
    assert colours(dataset.load("train")) == [RED, GREEN] and colours(dataset.load("test")) == [BLUE]


def test_a_train_folder_alone_is_no_class(root):
    for name in ("a/1.png", "b/2.png", "b/3.png"):
        save(root / "train" / name)
    assert Folder(str(root)).names == ("a", "b")
    assert len(Folder(str(root), test_share=0.4).listing.splits["test"]) == 1


def test_what_runs_have_written_there_is_no_data(root, caplog):
    """A run and a sweep below the folder of images; a class whose images come with a list."""
    for name in ("a/1.png", "b/2.png", "outputs/cats/samples/3.png", "outputs/sweep/curves.png"):
        save(root / name)
    for name in (
        "outputs/cats/status.json",
        "outputs/cats/config.yaml",
        "outputs/sweep/multirun.yaml",
        "a/status.json",
    ):
        (root / name).touch()
    dataset = Folder(str(root))
    assert dataset.names == ("a", "b") and len(dataset.load("train").pixels) == 2
    assert f"what gantool has written into '{root / 'outputs/cats'}' is no part of the data" in caplog.text


def test_a_run_is_not_written_into_its_images(root, gantool: Gantool):
    for name in ("a/1.png", "b/2.png"):
        save(root / name)
    before = sorted(root.rglob("*"))
    result = gantool("train", "dataset=folder", f"dataset.path={root}", f"hydra.run.dir={root}", "steps=1")
    assert result.code == 2 and f"{root} is the folder of the images: give hydra.run.dir another one" in result.err
    assert sorted(root.rglob("*")) == before


def test_what_is_not_used_is_told(root, caplog):
    """Photographs of kinds that Pillow does not read, and an image that lies beside what could be classes."""
    caplog.set_level("INFO")
    for name in ("a/1.png", "b/2.png", "cover.png", "page.png"):
        save(root / name)
    for name in ("3.HEIC", "a/4.heic", "5.avif", "notes.txt"):
        (root / name).write_bytes(b"?")
    assert Folder(str(root)).names == ()
    assert re.search(r"being of kinds that are not read: '.*' and 2 more; convert them", caplog.text)
    assert "'cover.png' and 1 more beside the folders a, b: so these are no classes" in caplog.text


def test_hold_out(root):
    for i in range(40):
        save(root / f"{i:02}.png", (i, 0, 0))
    with pytest.raises(UsageError, match=r"has no test images: .*test/.*dataset\.test_share=0\.1"):
        load(root, "test")
    dataset = Folder(str(root), resolution=8, test_share=0.25)
    train, test = dataset.load("train"), dataset.load("test")
    assert (len(train.pixels), len(test.pixels)) == (30, 10)
    assert sorted(colours(train) + colours(test)) == [(i, 0, 0) for i in range(40)]
    again = Folder(str(root), resolution=8, test_share=0.25)
    assert again.listing.splits == dataset.listing.splits
    held_out = {file.path for file in dataset.listing.splits["test"]}
    assert 2 <= sum(path < "20" for path in held_out) <= 8  # from anywhere
    save(root / "40.png")
    moved = held_out ^ {file.path for file in Folder(str(root), test_share=0.25).listing.splits["test"]}
    assert len(moved) <= 2
    for share, count in ((0.001, 1), (0.999, 40)):
        assert len(Folder(str(root), test_share=share).listing.splits["test"]) == count
    with pytest.raises(UsageError, match="dataset.test_share=1 of 41 images leaves none to train on"):
        Folder(str(root), test_share=1.0)


def test_the_only_image_is_not_held_out(root):
    save(root / "a.png")
    with pytest.raises(UsageError, match="dataset.test_share=0.1 of the only image leaves none to train on"):
        Folder(str(root), test_share=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "there is no folder"),
        (lambda root: (root.rmdir(), root.write_text("PK", "utf-8")), "is a file: give the folder"),
        (lambda root: None, "holds no file: give a folder of images"),
        (lambda root: (root / "sub").mkdir(), "holds no file"),
        (lambda root: (root / "a.txt").write_text("", "utf-8"), "holds no image .jpg, .*among its files, which are 1"),
    ],
)
def test_what_is_no_folder_of_images_is_told_in_a_sentence(root, make, message):
    make(root)
    with pytest.raises(UsageError, match=rf"^dataset\.path: '?.*{message}") as error:
        Folder(str(root))
    assert str(root) in str(error.value) and "\n" not in str(error.value)


def test_folders_that_may_not_be_read(root, monkeypatch, caplog):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    save(root / "a.png")
    save(root / "private" / "b.png")
    monkeypatch.setattr(os, "scandir", refuse)
    closed = "private"
    assert [file.path for file in Folder(str(root)).listing.splits["train"]] == ["a.png"]
    assert f"cannot read the folder '{root / 'private'}' (Permission denied)" in caplog.text
    closed = root.name
    with pytest.raises(UsageError, match=r"^dataset\.path: cannot read '.*' \(Permission denied\)"):
        Folder(str(root))


def test_a_path_must_be_given_and_a_split_must_exist(root):
    with pytest.raises(UsageError, match="dataset.path=FOLDER"):
        Folder("")
    save(root / "a.png")
    with pytest.raises(UsageError, match="no split 'val'"):
        load(root, "val")


def test_names_that_are_not_utf8(root, caplog):
    for name in (b"caf\xe9", b"tea"):
        os.mkdir(os.path.join(os.fsencode(root), name))
        save(root / os.fsdecode(name) / "1.png")
    (root / os.fsdecode(b"caf\xe9") / "2.png").write_text("broken", "utf-8")
    for _ in range(2):
        assert load(root).names == ("caf?", "tea")
    assert "caf?/2.png" in caplog.text.encode().decode()


# ------------------------------------------------------------------ what cannot be decoded


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 10^10 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def make_broken(root: Path) -> list[str]:
    """One file of each kind; returns their names."""
    for suffix in ("jpg", "png", "webp", "bmp", "gif", "tif", "ppm"):
        noise().save(root / f"cut.{suffix}")
        whole = (root / f"cut.{suffix}").read_bytes()
        (root / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    (root / "bomb.png").write_bytes(bomb())
    (root / "empty.jpg").write_bytes(b"")
    (root / "head_only.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "page.jpg").write_text("<html>404</html>", "utf-8")
    (root / "postscript.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "utf-8")
    (root / "zeros.png").write_bytes(bytes(5000))
    (root / "dangling.png").symlink_to(root / "nowhere.png")
    return sorted(path.name for path in root.iterdir())


def test_broken_images_are_skipped_with_one_warning(root, caplog):
    broken = make_broken(root)
    save(root / "a.png", RED)
    save(root / "zz.png", GREEN)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            images = load(root)
        assert colours(images) == [RED, GREEN] and images.labels.tolist() == [-1, -1]
        warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warned) == 1
        named = r" \(.+\), ".join(map(re.escape, broken[:3]))
        assert re.fullmatch(rf"skipped 14 of 16 images that cannot be read: {named} \(.+\), \.\.\.", warned[0])


def test_large_images_are_read_without_a_word(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # of which Pillow warns, and refuses twice as many
    save(root / "a.png", RED, size=(20, 16))
    save(root / "b.png", GREEN, size=(21, 20))
    save(root / "c.png", BLUE, size=(10, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert colours(load(root)) == [RED, BLUE]


def test_labels_stay_with_their_images(root):
    for name in ("a", "b", "c"):
        for i in range(5):
            save(root / name / f"{i}.png", (ord(name), i, 0))
    for name in ("a/0.png", "b/2.png", "b/3.png", "c/4.png"):
        (root / name).write_bytes(b"broken")
    images = load(root)
    assert [chr(red) for red, _, _ in colours(images)] == [images.names[label] for label in images.labels]
    assert images.labels.bincount().tolist() == [4, 3, 4]


def test_only_broken_images(root, cache):
    for i in range(3):
        (root / f"{i}.png").write_bytes(b"")
    with pytest.raises(
        UsageError, match=r"^dataset\.path: none of the 3 images of '.*' can be read \(0\.png: "
    ) as error:
        load(root)
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_order_is_kept_over_many_batches(root):
    for i in range(200):
        save(root / f"{i:03}.bmp", (i, 0, 0))
    assert [red for red, _, _ in colours(load(root))] == list(range(200))


# ------------------------------------------------------------------ the cache


def forbid_decoding(monkeypatch):
    monkeypatch.setattr(folder_cache, "decode_all", lambda *_: pytest.fail("decoded again"))


def entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_the_second_time_nothing_is_decoded(root, cache, monkeypatch):
    for i in range(5):
        save(root / f"{i}.png", (i, 0, 0))
    first = load(root)
    assert np.load(entry(cache) / "pixels.npy").shape == (5, 3, 8, 8)
    forbid_decoding(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = load(root)
    assert second.pixels.equal(first.pixels)
    second.pixels.zero_()  # a private map: neither the file nor the others change
    assert load(root).pixels.equal(first.pixels)


@pytest.mark.parametrize("change", ["touch", "content", "more", "resolution", "channels", "place"])
def test_another_listing_or_setting_is_decoded_anew(root, cache, tmp_path, change):
    save(root / "a.bmp", RED)
    load(root)
    stamp = os.stat(root / "a.bmp")
    options = {}
    if change == "touch":
        os.utime(root / "a.bmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    elif change == "content":
        save(root / "a.bmp", GREEN, size=(21, 16))
        os.utime(root / "a.bmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif change == "more":
        save(root / "b.bmp")
    elif change == "place":
        root = root.rename(tmp_path / "moved")
    else:
        options = {change: {"resolution": 9, "channels": 1}[change]}
    load(root, **options)
    assert len(list(cache.iterdir())) == 2


def test_what_the_system_refused_once_is_read_when_it_can_be(root, cache, monkeypatch):
    """Trap: the disk was away for a moment, and the images were missing for good."""
    for name in ("a.bmp", "b.bmp"):
        save(root / name)
    einval = b"II+\0\x08\0\0\0" + (2**62).to_bytes(8, "little")  # what Pillow says of this BigTIFF
    (root / "c.tif").write_bytes(einval)
    away, opened = {"a.bmp"}, Image.open

    def refused(path, *args, **kwargs):
        if Path(path).name in away:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", refused)
    assert len(load(root).pixels) == 1
    away.clear()
    assert len(load(root).pixels) == 2
    times = [path.stat().st_mtime_ns for path in cache.glob("*/pixels.npy")]
    assert len(load(root).pixels) == 2  # what is broken for good is not decoded again
    assert [path.stat().st_mtime_ns for path in cache.glob("*/pixels.npy")] == times


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lose_one(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"skipped": {"0.png": ""}}), "utf-8")


def zero(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:128] + bytes(path.stat().st_size - 128))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: cut(entry / "pixels.npy"),
        lambda entry: zero(entry / "pixels.npy"),
        lambda entry: (entry / "pixels.npy").write_bytes(b""),
        lambda entry: (entry / "pixels.npy").write_bytes(b"something else"),
        lambda entry: np.save(entry / "pixels.npy", np.zeros((4, 3, 8, 8), np.uint8)),
        lambda entry: np.save(entry / "pixels.npy", np.array([{}], object), allow_pickle=True),
        lambda entry: (entry / "pixels.npy").unlink(),
        lambda entry: (entry / "index.json").unlink(),
        lambda entry: cut(entry / "index.json"),
        lambda entry: lose_one(entry / "index.json"),
        lambda entry: (entry / "index.json").write_text("[1, 2]", "utf-8"),
        lambda entry: (entry / "index.json").write_text(json.dumps({"skipped": 3, "fingerprint": ""}), "utf-8"),
    ],
)
def test_a_damaged_cache_is_rebuilt(root, cache, spoil):
    for i in range(5):
        save(root / f"{i}.png", (i, 50, 0))
    first = load(root).pixels.clone()
    spoil(entry(cache))
    again = load(root)
    assert again.pixels.equal(first) and len(again.labels) == 5
    assert np.array_equal(np.load(entry(cache) / "pixels.npy"), first)


def test_jobs_that_prepare_the_same_folder_at_once(root, cache):
    for i in range(60):
        save(root / f"{i:02}.bmp", (i, 0, 0))
    results = []
    gate = threading.Barrier(4)

    def job():
        gate.wait()
        results.append(load(root).pixels)

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result[:, 0, 4, 4].tolist() for result in results] == [list(range(60))] * 4
    assert [path.name for path in entry(cache).iterdir()]


def cannot_write(tmp_path, monkeypatch):
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("", "utf-8")


def full_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))


def full_midway(tmp_path, monkeypatch):
    def header(shape):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_cache, "_header", header)


@pytest.mark.parametrize("trouble", [cannot_write, full_at_once, full_midway])
def test_without_a_cache_images_stay_in_memory(root, cache, tmp_path, monkeypatch, caplog, trouble):
    for i in range(5):
        save(root / f"{i}.png", (i, 0, 0))
    (root / "2.png").write_text("broken", "utf-8")
    trouble(tmp_path, monkeypatch)
    images = load(root)
    assert [red for red, _, _ in colours(images)] == [0, 1, 3, 4] and torch.is_tensor(images.pixels)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 2 and "they stay in memory" in warned[0] and "skipped 1 of 5" in warned[1]
    assert not cache.exists() or list(cache.iterdir()) == []


def test_without_room_anywhere_one_sentence(root, cache, tmp_path, monkeypatch):
    """Four images of 8 x 8 x 3 bytes are more than half of 1500."""
    for i in range(4):
        save(root / f"{i}.png")
    full_at_once(tmp_path, monkeypatch)
    monkeypatch.setattr(folder_cache.memory, "of_machine", lambda: 1500)
    with pytest.raises(RunError, match=r"the disk is too full.*memory is too small.*dataset.cache=FOLDER"):
        load(root)


def test_a_map_larger_than_memory_is_read_here_and_there(root, cache, monkeypatch):
    """The system is told (flag rr of its maps, man 5 proc), or it would read 32 pages for every image."""
    if not Path("/proc/self/smaps").exists():
        pytest.skip("the system does not say")
    save(root / "a.png"), save(root / "b.png")
    for memory, told in ((10**12, False), (500, True)):
        monkeypatch.setattr(folder_cache.memory, "of_machine", lambda memory=memory: memory)
        images = load(root)
        maps = Path("/proc/self/smaps").read_text("utf-8").split(str(entry(cache)))[1:]
        assert len(images.pixels) == 2
        assert any(" rr " in each.split("VmFlags:")[1].splitlines()[0] for each in maps) is told


def test_what_a_killed_job_left_is_removed_in_time(root, cache):
    save(root / "a.png")
    for name, age in (("tmp-old", 8), ("tmp-young", 1)):
        (cache / name).mkdir(parents=True)
        stamp = folder_cache.time.time() - age * 24 * 3600
        os.utime(cache / name, (stamp, stamp))
    load(root)
    assert {path.name for path in cache.glob("tmp-*")} == {"tmp-young"}


def test_where_the_cache_is(root, tmp_path, monkeypatch):
    save(root / "a.png")
    load(root, cache=str(tmp_path / "mine"))
    assert len(list((tmp_path / "mine" / "folder").iterdir())) == 1
    monkeypatch.delenv("GANTOOL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load(root)
    assert len(list((tmp_path / "home" / ".cache" / "gantool" / "folder").iterdir())) == 1
