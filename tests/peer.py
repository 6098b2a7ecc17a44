"""Hugging Face's PyTorch models beside ours: the same loud random weights, the same inputs, everything compared.

Needs the extra `parity`; a test module that imports this one is skipped without it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from batch import Batch, Inputs, Memory, Output, Targets, Task
from interop.weights import to_params
from models import ModelConfig, build_model
from objectives import Objective

torch = pytest.importorskip("torch", reason="parity needs the extra: pip install -e '.[parity]'")
transformers = pytest.importorskip("transformers", reason="parity needs the extra: pip install -e '.[parity]'")

VALUES = 2e-5
"""What a value may differ by, relative to the largest of its array. Both sides are float32."""

GRADIENTS = 1e-4


B, L = 4, 12
EVERYWHERE = jnp.broadcast_to(jnp.arange(L, dtype=jnp.int32)[None], (B, L))


def padded(vocab_size: int, side: str) -> Batch:
    """Rows of 12, 9, 5 and 1 tokens with padding on one side."""
    rng, lengths = np.random.default_rng(0), np.array([12, 9, 5, 1])[:, None]
    real = (np.arange(L)[None] if side == "right" else np.arange(L)[None, ::-1]) < lengths
    return Batch(
        tokens=np.where(real, rng.integers(4, vocab_size, (B, L)), 0).astype(np.int32),
        segments=np.where(real, rng.integers(0, 2, (B, L)), 0).astype(np.int32),
        document=real.astype(np.int32),
        word=np.tile(np.arange(L, dtype=np.int32), (B, 1)),
        example=np.arange(B, dtype=np.int32),
        epoch=np.zeros(B, np.int32),
        fresh=np.ones(B, bool),
        summary=np.zeros(B, np.int32),
        task=Task(label=np.array([0, 1, 1, 0], np.int32)),
    )


def loud_peer(cls: Any, config: Any, seed: int = 0) -> Any:
    """A model of theirs in eval mode with weights of deviation 0.2, biases too, and norm scales around 1."""
    model = cls._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            centre = 1.0 if name.endswith("weight") and value.dim() == 1 else 0.0
            value.copy_(centre + 0.2 * torch.randn(value.shape, generator=generator))
    return model


def weights(peer: Any) -> dict[str, np.ndarray]:
    """Its state, as the file that save_pretrained would write holds it, and more: tied copies too."""
    return {name: value.detach().numpy() for name, value in peer.state_dict().items()}


def gradients(peer: Any, config: ModelConfig) -> dict[str, Any]:
    """The gradients that `backward` left, as a tree of our parameters: the mapping of weights is linear."""
    found = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in peer.named_parameters()}
    return to_params({name: g.numpy() for name, g in found.items()}, config, peer.config.vocab_size)[0]


def tensor(x: Any, dtype: Any = None) -> Any:
    """An array of ours as a tensor of theirs."""
    return torch.tensor(np.asarray(x), dtype=dtype or (torch.long if np.asarray(x).dtype.kind in "iub" else None))


def reader(peer: Any, config: ModelConfig) -> tuple[dict[str, Any], Callable[..., tuple[Output, jax.Array]]]:
    """Our parameters with the peer's weights, and a compiled `read(params, inputs, memory)` of output and logits."""
    params, notes = to_params(weights(peer), config, peer.config.vocab_size)
    assert not notes
    graphdef = nnx.graphdef(build_model(config, peer.config.vocab_size))

    def read(params: Any, inputs: Inputs, memory: Memory | None = None) -> tuple[Output, jax.Array]:
        model = nnx.merge(graphdef, params)
        output = model(inputs, memory, capture=("layers", "attention"))
        return output, model.logits(output.hidden)

    return params, jax.jit(read)


def descent(config: ModelConfig, vocab_size: int, objective: Objective) -> Callable[..., tuple[jax.Array, Any]]:
    """A compiled `(params, inputs, targets, memory)` to the loss that a step descends and its gradient."""
    graphdef = nnx.graphdef(build_model(config, vocab_size))

    def loss(params: Any, inputs: Inputs, targets: Targets, memory: Memory | None = None) -> jax.Array:
        model = nnx.merge(graphdef, params)
        losses, _ = objective.loss(model, model(inputs, memory), targets)
        scales = objective.scales(targets)
        return sum((scales[name] * mean.total for name, mean in losses.items()), jnp.zeros(()))

    return jax.jit(jax.value_and_grad(loss))


def assert_close(ours: Any, theirs: Any, tolerance: float = VALUES, where: Any = None) -> None:
    """Equal within `tolerance` of the largest value; `where` selects what both sides define."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs.detach() if hasattr(theirs, "detach") else theirs)
    assert a.shape == b.shape
    a, b = (a, b) if where is None else (a[where], b[where])
    assert a.size
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def assert_gradients_close(ours: Any, theirs: Any) -> None:
    """Every leaf; none of the larger model's gradients is zero by accident."""
    flat, other = (traverse_util.flatten_dict(jax.tree.map(np.asarray, tree), sep="/") for tree in (ours, theirs))
    assert flat.keys() == other.keys()
    scale = max(np.abs(g).max() for g in other.values())
    wrong = {}
    for name, gradient in flat.items():
        size = max(np.abs(other[name]).max(), 1e-3 * scale)  # a key's bias has no gradient at all, but for rounding
        error = np.abs(gradient - other[name]).max() / size
        if error > GRADIENTS:
            wrong[name] = error
    assert not wrong
