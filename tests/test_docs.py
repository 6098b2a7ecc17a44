"""What the documentation shows is true: its code runs, and its files exist."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from models import GptConfig, build_model
from objectives import CausalLm, Mixture, Objective
from texts import VOCAB, eligible, random_batch
from training.state import init_state
from training.step import make_train_step

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.fixture
def ahead_lm(monkeypatch):
    """The objective that docs/adding.md writes out."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adding.md").read_text(), re.DOTALL)
    module = types.ModuleType("ahead")
    monkeypatch.setitem(sys.modules, "ahead", module)  # dataclasses look their module up
    exec(compile(code, "docs/adding.md", "exec"), module.__dict__)
    return module.AheadLm


def test_the_objective_of_the_contributors_page_trains(ahead_lm):
    objective, batch = ahead_lm(distance=3), random_batch(4, 12)
    assert isinstance(objective, Objective)
    _, targets = objective.prepare(batch, VOCAB, jax.random.key(0))
    real = np.asarray(batch.document) != 0
    used, asked = np.asarray(targets.weights) > 0, eligible(batch)[:, 3:]
    assert np.array_equal(used[:, :-3], asked) and not used[:, -3:].any()
    assert np.array_equal(np.asarray(targets.labels)[:, :-3][asked], batch.tokens[:, 3:][asked])
    mixed, _ = Mixture((CausalLm(), objective)).prepare(batch, VOCAB, jax.random.key(0))
    assert mixed.predict.shape == batch.tokens.shape
    model = build_model(GptConfig(1, 2, 16, 32, 0.0, 0.0, max_length=real.shape[1]), VOCAB.size)
    optimizer = optax.adam(1e-2)
    state, step = (
        init_state(model, optimizer, len(real), 0),
        make_train_step(model, objective, VOCAB, optimizer),
    )
    losses = []
    for _ in range(20):
        state, record = step(state, batch, 0)
        losses.append(record["loss"].value())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {missing}"
