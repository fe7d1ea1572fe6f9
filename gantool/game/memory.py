"""How much memory there is."""

import os
from pathlib import Path

import torch

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container: v2, v1


def of_machine() -> int:
    """Bytes of the machine, or of the container that this process runs in. Where nobody says, there is no limit."""
    sizes = [2**62]
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in LIMITS:
        try:
            sizes.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(sizes)


def free(device: torch.device) -> int:
    """Bytes that a device has left; of the CPU all there are, for the system gives up what it merely keeps at hand."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return of_machine()
