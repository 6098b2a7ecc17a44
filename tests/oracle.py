"""The models again, straight from the papers' formulas: float64, one row, one query and one key at a time."""

import math
from typing import Any

import numpy as np

ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def norm(x: np.ndarray, p: Any, epsilon: float) -> np.ndarray:
    """LayerNorm of the last axis."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * p["scale"] + p["bias"]


def mix(score, num_queries: int, keys: list[int], values: np.ndarray, visible) -> np.ndarray:
    """For each query the mean of the visible values under softmax(score(i, j)); zeros where none is visible."""
    out = np.zeros((num_queries, values.shape[1]))
    for i in range(num_queries):
        seen = [j for j in keys if visible(i, j)]
        if seen:
            weights = np.exp(np.array([score(i, j) for j in seen]))
            out[i] = weights / weights.sum() @ values[seen]
    return out


def mlp(x: np.ndarray, p: Any, activation: str) -> np.ndarray:
    hidden = ACTIVATIONS[activation](x @ p["up"]["kernel"] + p["up"]["bias"])
    return hidden @ p["down"]["kernel"] + p["down"]["bias"]


def attention(x: np.ndarray, p: Any, visible) -> np.ndarray:
    """Scaled dot products (Vaswani et al. 2017)."""
    projected = {
        n: np.einsum("ld,dhk->hlk", x, p[n]["kernel"]) + p[n]["bias"][:, None] for n in ("query", "key", "value")
    }
    out = 0
    for q, k, v, o in zip(*projected.values(), p["out"]["kernel"], strict=True):
        mixed = mix(lambda i, j, q=q, k=k: q[i] @ k[j] / math.sqrt(len(q[i])), len(x), list(range(len(x))), v, visible)
        out = out + mixed @ o
    return out + p["out"]["bias"]


def layer_of(stacked: Any, n: int) -> Any:
    """The parameters of layer n."""
    return {k: layer_of(v, n) if isinstance(v, dict) else np.asarray(v, np.float64)[n] for k, v in stacked.items()}


def bert(params: Any, row: Any, num_layers: int, visible) -> np.ndarray:
    """Embeddings and every layer's output [N+1 L D]."""
    tables = [np.asarray(params[n]["table"], np.float64) for n in ("tokens", "segments", "positions")]
    x = norm(
        sum(t[i] for t, i in zip(tables, (row.tokens, row.segments, row.position), strict=True)), params["norm"], 1e-12
    )
    layers = [x]
    for n in range(num_layers):
        p = layer_of(params["layers"], n)
        x = norm(x + attention(x, p["attention"], visible), p["attention_norm"], 1e-12)
        x = norm(x + mlp(x, p["mlp"], "gelu"), p["mlp_norm"], 1e-12)
        layers.append(x)
    return np.stack(layers)


def gpt(params: Any, row: Any, num_layers: int, visible) -> np.ndarray:
    """Embeddings and every layer's output, before the last norm [N+1 L D]."""
    tables = [np.asarray(params[n]["table"], np.float64) for n in ("tokens", "positions")]
    x = tables[0][row.tokens] + tables[1][row.position]
    layers = [x]
    for n in range(num_layers):
        p = layer_of(params["layers"], n)
        x = x + attention(norm(x, p["attention_norm"], 1e-5), p["attention"], visible)
        x = x + mlp(norm(x, p["mlp_norm"], 1e-5), p["mlp"], "gelu_tanh")
        layers.append(x)
    return np.stack(layers)


def sinusoid(distance: float, dim: int) -> np.ndarray:
    angles = [distance / 10_000 ** (2 * m / dim) for m in range(dim // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def xlnet(params: Any, row: Any, config: Any, past: np.ndarray, sees_past, visible, earlier):
    """Content stream [N+1 L D], and query stream [L D] as if every position were asked.

    `row.direction` is the sign of distances; `past` [N M D] is the memory, `sees_past(i, j)` tells which of its slots a
    position sees; content i sees j iff `visible(i, j)`, query i iff `earlier(i, j)`.
    """
    h = np.asarray(params["tokens"]["table"], np.float64)[row.tokens]
    g = np.tile(np.asarray(params["query"], np.float64), (len(h), 1))
    layers, memory = [h], past.shape[1]
    for n in range(config.num_layers):
        p = layer_of(params["layers"], n)
        context = np.concatenate([np.asarray(past[n], np.float64), h])
        stream = []
        for x, present in ((h, visible), (g, earlier)):
            sees = lambda i, j, present=present: sees_past(i, j) if j < memory else present(i, j - memory)  # noqa: E731
            x = norm(x + relative(x, context, p["attention"], row, config, memory, sees), p["attention_norm"], 1e-12)
            stream.append(norm(x + mlp(x, p["mlp"], "gelu_tanh"), p["mlp_norm"], 1e-12))
        h, g = stream
        layers.append(h)
    return np.stack(layers), g


def relative(x, context, p, row, config, memory: int, sees) -> np.ndarray:
    """Attention by content, distance and segment (Yang et al. 2019, sections 2.4 and 2.5)."""
    out, clamp = 0, config.clamp_length or math.inf
    for n in range(config.num_heads):
        head = {name: p[name]["kernel"][:, n] for name in ("query", "key", "value", "distance")}
        q, k, v = x @ head["query"], context @ head["key"], context @ head["value"]
        u, w, b = p["content_bias"][n], p["distance_bias"][n], p["segment_bias"][n]

        def score(i, j, q=q, k=k, u=u, w=w, b=b, head=head, n=n):
            distance = row.direction * min(max(memory + i - j, -clamp), clamp)
            other = row.segments[i] != (0 if j < memory else row.segments[j - memory])
            r = sinusoid(distance, len(x[0])) @ head["distance"]
            return ((q[i] + u) @ k[j] + (q[i] + w) @ r + (q[i] + b) @ p["segment"][int(other), n]) / math.sqrt(len(u))

        out = out + mix(score, len(x), list(range(len(context))), v, sees) @ p["out"]["kernel"][n]
    return out
