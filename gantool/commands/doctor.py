"""`gantool doctor`: what this machine offers, what is missing, and how to mend it.

Needs nothing but Python itself, since a broken environment is what it is for.
"""

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gantool.runs.places import absolute, cache_root, data_root

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OK, MISSING, ABSENT, PLAIN = "ok", "missing", "absent", "-"  # good, essential, optional, neither
GIB = 2**30


class Row(NamedTuple):
    """One finding."""

    name: str
    text: str
    state: str = PLAIN


def run(argv: Sequence[str]) -> int:
    """0 if training can run here, 1 if something that it needs is missing."""
    argparse.ArgumentParser("gantool doctor", description="Check versions, devices, data and extras.").parse_args(argv)
    missing: list[str] = []
    for title, section in SECTIONS.items():
        print(title)
        for row in section():
            print(_line(row))
            missing += [row.name] if row.state == MISSING else []
        print()
    print(f"Training cannot run: mend {', '.join(missing)}." if missing else "Training can run.")
    return 1 if missing else 0


def _line(row: Row) -> str:
    head = f"  {row.name:15} {row.state:8} "
    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    lines = textwrap.wrap(row.text, width - len(head), break_on_hyphens=False, break_long_words=False)
    return head + f"\n{' ' * len(head)}".join(lines)


def packages() -> Iterator[Row]:
    import gantool

    yield Row("gantool", f"{gantool.__version__} in {Path(gantool.__file__).parent}")
    yield Row("python", f"{platform.python_version()}, {sys.executable}, {platform.platform()}")
    try:
        for requirement in _requirements():
            yield Row(requirement.name, *_installed(requirement))
    except importlib.metadata.PackageNotFoundError:
        yield Row("gantool", "runs from a checkout without being installed: pip install -e .", ABSENT)
    except ImportError:
        yield Row("packaging", "pip install packaging", MISSING)


def _requirements(extra: str = "") -> list["Requirement"]:
    """What gantool needs; or what one of its extras adds."""
    from packaging.requirements import Requirement

    parsed = [Requirement(line) for line in importlib.metadata.requires("gantool") or []]
    return [item for item in parsed if _wanted(item, extra) and not (extra and _wanted(item, ""))]


def _wanted(requirement: "Requirement", extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _installed(requirement: "Requirement") -> tuple[str, str]:
    """Version and state of one package."""
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"pip install '{wanted}'", MISSING
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version} is too old or too new: pip install '{wanted}'", MISSING
    return version, OK


def devices() -> Iterator[Row]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        yield Row("torch", f"cannot be imported: {error}", MISSING)
        return
    from gantool.engine.precision import choose_device, choose_precision

    yield Row("cpu", f"{cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads", OK)
    yield Row("cpu kernels", f"{torch.backends.cpu.get_cpu_capability()}{_bf16('cpu')}")
    yield from _cuda()
    if torch.backends.mps.is_available():
        yield Row("mps", "Apple GPU", OK)
    device = choose_device("auto")
    images, points = choose_precision("auto", device, (1, 8, 8)), choose_precision("auto", device, (2,))
    yield Row("auto", f"device={device} precision={images} for images, {points} for points")
    yield Row("torch.compile", *_compiler())


def _cuda() -> Iterator[Row]:
    import torch

    for index in range(torch.cuda.device_count()):
        try:
            properties = torch.cuda.get_device_properties(index)
            free = torch.cuda.mem_get_info(index)[0]
        except RuntimeError as error:
            yield Row(f"cuda:{index}", f"cannot be used: {str(error).splitlines()[0]}", ABSENT)
            continue
        memory = f"{properties.total_memory / GIB:.0f} GiB, {free / GIB:.0f} free"
        capability = f"compute capability {properties.major}.{properties.minor}"
        yield Row(f"cuda:{index}", f"{properties.name}, {memory}, {capability}{_bf16(f'cuda:{index}')}", OK)
    if not torch.cuda.device_count() and sys.platform != "darwin":
        built = f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch has no CUDA"
        yield Row("cuda", f"no device; {built}")


def _bf16(device: str) -> str:
    import torch

    from gantool.engine.precision import has_bf16

    return f", {'' if has_bf16(torch.device(device)) else 'no '}bf16"


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _compiler() -> tuple[str, str]:
    """torch.compile writes C++ for a CPU, and for a GPU kernels of triton, which are started from C."""
    import torch

    names = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        return "needs a C++ compiler: install g++ or clang++ (training runs without it)", ABSENT
    if torch.cuda.is_available() and find_spec("triton") is None:
        return "needs triton on a GPU: pip install triton (training runs without it)", ABSENT
    return f"C++ compiler {path}", OK


def data() -> Iterator[Row]:
    root = absolute(data_root())
    named = "named by" if os.environ.get("GANTOOL_DATA") else "another is named by"
    yield Row("data folder", f"{root}, {_free(root)} free; {named} GANTOOL_DATA")
    yield from _datasets(root)
    cache = cache_root()
    used = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    held = f"{used / GIB:.1f} GiB of decoded images, classifiers and the like, which may be deleted"
    yield Row("cache", f"{cache}, {held}; {_free(cache)} free")
    yield Row("outputs", f"{Path('outputs').absolute()}, {_free(Path('outputs'))} free")


def _datasets(root: Path) -> Iterator[Row]:
    try:
        from gantool.datasets.torchvision_sets import SETS
    except (ImportError, OSError):  # no torch, which has been told above
        return
    for name, known in SETS.items():
        if (root / known.folder).is_dir():
            yield Row(name, f"in {root / known.folder}", OK)
        else:
            yield Row(name, f"not there yet: dataset={name} downloads it", ABSENT)


def _free(path: Path) -> str:
    """Of the disk that a folder lies on, or would."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return f"{shutil.disk_usage(there).free / GIB:.1f} GiB"


def extras() -> Iterator[Row]:
    try:
        names = importlib.metadata.metadata("gantool").get_all("Provides-Extra") or []
        wanted = {name: _requirements(name) for name in names}
    except ImportError:  # gantool or packaging, which has been told above
        return
    for name, requirements in wanted.items():
        found = {requirement.name: _installed(requirement) for requirement in requirements}
        if any(state == MISSING for _, state in found.values()):
            yield Row(name, f"pip install 'gantool[{name}]'", ABSENT)
        else:
            yield Row(name, ", ".join(f"{package} {version}" for package, (version, _) in found.items()), OK)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "Packages": packages,
    "Devices": devices,
    "Data": data,
    "Extras": extras,
}
