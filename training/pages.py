"""Pages of memory that stay with the process, for programs that run on the CPU."""

import ctypes
import importlib.metadata
import importlib.util
import platform

import jax

ARENAS, LARGE_BLOCKS, TRIMMED = -8, -4, -1  # M_ARENA_MAX, M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h


def keep_pages() -> bool:
    """Tells the C library to keep what is freed; whether it was told. It heeds this before the first use of a device.

    On the CPU, each run of a compiled program takes its temporaries from `malloc` in one block, which glibc maps anew
    and hands back to the kernel every time: a step of a small model then touches 50,000 fresh pages, and a fifth of its
    time goes into that (docs/findings.md). Memory that was used once is not given back before the process ends.
    """
    if platform.libc_ver()[0] != "glibc" or not computes_on_cpu():
        return False
    tell = ctypes.CDLL(None).mallopt
    return all(tell(what, value) for what, value in ((ARENAS, 1), (LARGE_BLOCKS, 0), (TRIMMED, 2**31 - 1)))


def computes_on_cpu() -> bool:
    """Whether JAX will find no other device, without looking for one: that would be too early for several processes."""
    if platforms := jax.config.jax_platforms:  # pyright: ignore[reportAttributeAccessIssue] - made when jax is imported
        return platforms.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
