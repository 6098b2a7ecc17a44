"""Large blocks come with the pages that they had, once the C library was told to keep them."""

import platform
import subprocess
import sys

import pytest

from training import pages

COUNTED = """
import ctypes, resource, sys, threading
from training.pages import keep_pages
told = keep_pages() if sys.argv[1] == "kept" else None
libc, size = ctypes.CDLL(None), 100 << 20
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def run(times):
    for _ in range(times):
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(block)

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=run, args=(times,))
    thread.start(), thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(1)
print(told, faults(4))
"""
"""What a program on the CPU does: a thread takes a large block, writes to it and frees it, again and again."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_block_that_was_freed_is_taken_again_with_its_pages():
    def faults(how):
        told, count = subprocess.run(
            [sys.executable, "-c", COUNTED, how], check=True, capture_output=True, text=True
        ).stdout.split()
        return told, int(count)

    (told, kept), (untold, fresh) = faults("kept"), faults("as it is")
    assert (told, untold) == ("True", "None")
    assert 100 * kept < fresh


@pytest.mark.parametrize(
    ("platforms", "plugins", "expected"),
    [
        ("cpu", ["cuda"], True),
        ("cpu,cuda", [], True),
        ("cuda,cpu", [], False),
        (None, [], True),
        (None, ["cuda"], False),
    ],
)
def test_where_there_may_be_an_accelerator_nothing_is_told(monkeypatch, platforms, plugins, expected):
    monkeypatch.setattr(pages.importlib.metadata, "entry_points", lambda group: plugins)
    monkeypatch.setattr(pages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pages, "jax", type("Jax", (), {"config": type("Config", (), {"jax_platforms": platforms})}))
    assert pages.computes_on_cpu() is expected
