"""A step on the CPU takes no fresh pages from the kernel, once the C library was told to keep them."""

import platform
import subprocess
import sys

import pytest

from training import pages

COUNTED = """
import resource, sys
from training.pages import keep_pages
told = keep_pages() if sys.argv[1] == "kept" else None
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sort(jnp.sin(x) @ x.T, axis=0) @ x)
x = jnp.ones((2048, 1024))
for _ in range(8):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step(x).block_until_ready()
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_program_on_the_cpu_touches_few_fresh_pages():
    def faults(how):
        told, count = subprocess.run(
            [sys.executable, "-c", COUNTED, how], check=True, capture_output=True, text=True
        ).stdout.split()
        return told, int(count)

    (told, kept), (untold, fresh) = faults("kept"), faults("as it is")
    assert (told, untold) == ("True", "None")
    assert 4 * kept < fresh


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
