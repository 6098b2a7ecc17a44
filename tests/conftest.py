"""What every test relies on: JAX on the CPU, no silent broadcasting of ranks, the same examples on every run."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest

# The suite compiles thousands of small programs and runs each a few times: most of its time is the compiler's. XLA's
# newer emitters of fusions take more than twice as long as those before them, which it will not have for ever: one that
# does not know a flag ends. What is compared with transformers is compiled by those that users have (Makefile).
QUICK = ["--xla_backend_optimization_level=0"]
if jax.__version_info__ <= (0, 10, 2):
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK))

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["JAX_PLATFORMS"] = "cpu"  # for the commands that tests start

# What one test has compiled, the next one finds, and so do the commands and the injected bugs that it starts. The
# folder is this run's, so that nothing is tested that another state of the code has compiled; and a worker's own, as
# two that write one entry at once would warn of it.
if "ORDERLY_PROGRAMS" not in os.environ:
    os.environ["ORDERLY_PROGRAMS"] = tempfile.mkdtemp(prefix="orderly-programs-")
    atexit.register(shutil.rmtree, os.environ["ORDERLY_PROGRAMS"], ignore_errors=True)
KEPT = {
    "jax_compilation_cache_dir": f"{os.environ['ORDERLY_PROGRAMS']}/{os.environ.get('PYTEST_XDIST_WORKER', 'only')}",
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for field, value in KEPT.items():
    jax.config.update(field, value)
    os.environ[field.upper()] = str(value)

hypothesis.settings.register_profile("orderly", derandomize=True, deadline=None)
hypothesis.settings.load_profile("orderly")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real text that ORDERLY_DATA names; the test is skipped without one."""
    folder = os.environ.get("ORDERLY_DATA")
    if not folder:
        pytest.skip("ORDERLY_DATA is not set")
    return Path(folder)


MAPS = Path("/proc/self/maps")
MANY = 20_000
"""Of the 65,530 mappings that Linux allows a process: a compiled program takes about ten; without one XLA aborts."""


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs():
    """Forgets what was compiled once a process holds too much of it, which thousands of tests in turn do."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
        gc.collect()
