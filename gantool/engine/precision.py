"""On what, and in what numbers, a run computes."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from gantool.errors import UsageError
from gantool.game.types import Shape

ALL_THREADS = torch.get_num_threads()  # as torch found it when it was loaded: one a core, or OMP_NUM_THREADS


def choose_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:N or mps; auto = the first there is of cuda, mps, cpu."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device={name}: this torch sees no CUDA device; take device=cpu or look at gantool doctor")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device={name}: there are only {torch.cuda.device_count()} CUDA devices, counted from cuda:0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device=mps: this torch sees no Apple GPU; take device=cpu")
    return device


def has_bf16(device: torch.device) -> bool:
    """Does the hardware multiply in bfloat16, so that it is faster than float32?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(getattr(torch.cpu, test, bool)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return False


def multiplies_vectors_only() -> bool:
    """Does a CPU multiply in bfloat16, but not whole matrices at once, as with AMX?"""
    vectors, matrices = (getattr(torch.cpu, f"_is_{what}_supported", bool)() for what in ("avx512_bf16", "amx_tile"))
    return vectors and not matrices


def choose_precision(name: str, device: torch.device, shape: Shape) -> str:
    """fp32 or bf16. auto = bf16 for images where the hardware has it; points need the digits of float32."""
    if name == "auto":
        return "bf16" if len(shape) == 3 and has_bf16(device) else "fp32"
    return name


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """What the networks' forward passes run under. No weight cache: it would outlive a captured step."""
    if precision == "fp32":
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16, cache_enabled=False)


def set_up(device: torch.device, deterministic: bool, threads: int | None = None) -> None:
    """Deterministic: only kernels whose sums have one order; a GPU run then repeats bit for bit."""
    torch.set_num_threads(threads or ALL_THREADS)  # of an earlier job of this process there may have been fewer
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    if deterministic != torch.are_deterministic_algorithms_enabled():  # which loads torch's compiler
        torch.use_deterministic_algorithms(deterministic, warn_only=device.type == "mps")
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
        torch.backends.cudnn.benchmark = not deterministic  # shapes stay: the fastest kernel is looked for once
