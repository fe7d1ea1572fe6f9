"""The C library's allocator, as training wants it."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST = 2**31 - 1
CERTAIN = 32 * 2**20  # bytes, the most that every version of glibc takes


def keep_memory() -> None:
    """What a step frees is kept for the next one.

    glibc would give large blocks back at once and ask for them anew in each step, and the system clears every page of
    them: of the steps of small networks that is a tenth to a fifth. Elsewhere (macOS, musl) nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return
    if not mallopt(M_MMAP_THRESHOLD, LARGEST):
        mallopt(M_MMAP_THRESHOLD, CERTAIN)
    mallopt(M_TRIM_THRESHOLD, LARGEST)
