"""What this machine can do, and what a step asks of it: operations, and memory."""

import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

SIZES = {"cpu": 2048, "cuda": 8192, "mps": 4096}  # of square matrices that keep the device busy and fit it
SECONDS = 1.0


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_flops(device: torch.device, precision: str) -> float:
    """Operations a second of the best of many large matrix products in this precision; a + b * c counts as two."""
    size, dtype = SIZES[device.type], torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < until:
        wait(device)
        began = time.perf_counter()
        torch.mm(a, b)
        wait(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


class Flops(TorchDispatchMode):
    """Counts operations while it is active: products and convolutions by torch's own formulas, a + b * c as two.

    torch's FlopCounterMode also follows the modules, whose hooks break `autograd.grad` under a penalty.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


class Memory:
    """Bytes in use at most since this was made: of a GPU what its tensors take, of a CPU what the process has grown by.

    A process's largest size never shrinks, so that on a CPU only the first of several in a process tells.
    """

    def __init__(self, device: torch.device):
        self.device, self.before = device, _largest_size()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.device.type == "mps":
            return torch.mps.driver_allocated_memory()
        return _largest_size() - self.before


def _largest_size() -> int:
    """Of this process, in bytes. On Linux, getrusage starts from the size of the process that started this one."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return 1024 * int(found[1])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
