"""Where results come from: the command, the commit, the environment."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import jax

from ablation.results import Origin

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def origin(seconds: float) -> Origin:
    """Of results that this process has made in so many seconds."""
    device = jax.devices()[0]
    environment = {"Python": platform.python_version()}
    environment |= {name: importlib.metadata.version(name) for name in PACKAGES}
    environment |= {
        "device": f"{jax.device_count()} x {device.device_kind}",
        "CPU cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
    }
    script = Path(sys.argv[0]).name
    command = shlex.join(["python", script, *sys.argv[1:]])
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Origin(command, commit(Path(__file__).parents[1]), date, environment, seconds)


def commit(folder: Path) -> str:
    """The commit of a checkout, with a + where files differ from it; "" where it is none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
