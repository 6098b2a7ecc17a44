"""The models again, straight from the papers' formulas: float64, one row, one query and one key at a time."""

import functools
import math
from typing import Any

import numpy as np

ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def norm(x: np.ndarray, p: Any, epsilon: float) -> np.ndarray:
    """LayerNorm of the last axis, or RMSNorm, which has no bias."""
    if "bias" not in p:
        return unit(x, epsilon) * p["scale"]
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * p["scale"] + p["bias"]


def unit(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Each row over its root mean square."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


def mix(score, num_queries: int, keys: list[int], values: np.ndarray, visible) -> np.ndarray:
    """For each query the mean of the visible values under softmax(score(i, j)); zeros where none is visible."""
    out = np.zeros((num_queries, values.shape[1]))
    for i in range(num_queries):
        seen = [j for j in keys if visible(i, j)]
        if seen:
            weights = np.exp(np.array([score(i, j) for j in seen]))
            out[i] = weights / weights.sum() @ values[seen]
    return out


def linear(x: np.ndarray, p: Any) -> np.ndarray:
    return x @ p["kernel"] + p["bias"]


def mlp(x: np.ndarray, p: Any, activation: str) -> np.ndarray:
    """The feed-forward block; a gate, where there is one, has the activation (Shazeer 2020)."""
    act, up = ACTIVATIONS[activation], linear(x, p["up"])
    return linear(act(linear(x, p["gate"])) * up if "gate" in p else act(up), p["down"])


def block(x: np.ndarray, p: Any, config: Any, epsilon: float, attend) -> np.ndarray:
    """Attention and feed-forward, their sums with what they read normalized, or what they read itself."""
    first, second = (lambda x, n=n: norm(x, p[n], epsilon) for n in ("attention_norm", "mlp_norm"))
    if config.norm_position == "post":
        x = first(x + attend(x))
        return second(x + mlp(x, p["mlp"], config.activation))
    x = x + attend(first(x))
    return x + mlp(second(x), p["mlp"], config.activation)


def turned(x: np.ndarray, position: int) -> np.ndarray:
    """Each pair of numbers as a complex number, times exp(i angle) (Su et al. 2021)."""
    half = len(x) // 2
    pairs = x[:half] + 1j * x[half:]
    pairs = pairs * np.exp(1j * position / 10_000 ** (np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def attention(x: np.ndarray, p: Any, config: Any, epsilon: float, row: Any, visible) -> np.ndarray:
    """Scaled dot products (Vaswani et al. 2017)."""
    projected = {
        n: np.einsum("ld,dhk->hlk", x, p[n]["kernel"]) + p[n]["bias"][:, None] for n in ("query", "key", "value")
    }
    for n in ("query", "key"):
        heads = unit(projected[n], epsilon) if config.qk_norm else projected[n]
        if config.positions == "rotary":
            heads = np.array([[turned(v, i) for v, i in zip(head, row.position, strict=True)] for head in heads])
        projected[n] = heads
    out = 0
    for q, k, v, o in zip(*projected.values(), p["out"]["kernel"], strict=True):
        mixed = mix(lambda i, j, q=q, k=k: q[i] @ k[j] / math.sqrt(len(q[i])), len(x), list(range(len(x))), v, visible)
        out = out + mixed @ o
    return out + p["out"]["bias"]


def layer_of(stacked: Any, n: int) -> Any:
    """The parameters of layer n."""
    return {k: layer_of(v, n) if isinstance(v, dict) else np.asarray(v, np.float64)[n] for k, v in stacked.items()}


def embedded(params: Any, row: Any, config: Any) -> np.ndarray:
    """Tokens, and where they are embedded segments and positions."""
    table = lambda name, ids: np.asarray(params[name]["table"], np.float64)[ids]  # noqa: E731
    x = table("tokens", row.tokens)
    if config.num_segments:
        x = x + table("segments", row.segments)
    if config.positions == "sinusoidal":
        return x * math.sqrt(x.shape[1]) + np.array([sinusoid(i, x.shape[1]) for i in row.position])
    return x + table("positions", row.position) if config.positions == "learned" else x


def encoded(x: np.ndarray, params: Any, row: Any, config: Any, epsilon: float, visible) -> np.ndarray:
    """`x` and every layer's output, before a last norm [N+1 L D]."""
    layers = [x]
    for n in range(config.num_layers):
        p = layer_of(params["layers"], n)
        attend = lambda x, p=p: attention(x, p["attention"], config, epsilon, row, visible)  # noqa: E731
        layers.append(block(layers[-1], p, config, epsilon, attend))
    return np.stack(layers)


def bert(params: Any, row: Any, config: Any, visible) -> np.ndarray:
    """Embeddings and every layer's output, before a last norm [N+1 L D]."""
    x = norm(embedded(params, row, config), params["norm"], 1e-12)
    return encoded(x, params, row, config, 1e-12, visible)


def gpt(params: Any, row: Any, config: Any, visible) -> np.ndarray:
    """Embeddings and every layer's output, before the last norm [N+1 L D]."""
    return encoded(embedded(params, row, config), params, row, config, 1e-5, visible)


def sinusoid(distance: float, dim: int) -> np.ndarray:
    angles = [distance / 10_000 ** (2 * m / dim) for m in range(dim // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def xlnet(params: Any, row: Any, config: Any, past: np.ndarray, sees_past, visible, earlier):
    """Content stream [N+1 L D], and query stream [L D] as if every position were asked, both before a last norm.

    `row.direction` is the sign of distances; `past` [N M D] is the memory, `sees_past(i, j)` tells which of its slots a
    position sees; content i sees j iff `visible(i, j)`, query i iff `earlier(i, j)`.
    """
    h = np.asarray(params["tokens"]["table"], np.float64)[row.tokens]
    g = np.tile(np.asarray(params["query"], np.float64), (len(h), 1))
    layers, memory = [h], past.shape[1]
    for n in range(config.num_layers):
        p = layer_of(params["layers"], n)
        context = np.concatenate([np.asarray(past[n], np.float64), h])
        context = norm(context, p["attention_norm"], 1e-12) if config.norm_position == "pre" else context
        stream = []
        for x, present in ((h, visible), (g, earlier)):
            sees = lambda i, j, present=present: sees_past(i, j) if j < memory else present(i, j - memory)  # noqa: E731
            attend = functools.partial(relative, context=context, p=p["attention"], row=row, config=config, sees=sees)
            stream.append(block(x, p, config, 1e-12, attend))
        h, g = stream
        layers.append(h)
    return np.stack(layers), g


def relative(x, context, p, row, config, sees) -> np.ndarray:
    """Attention by content, distance and segment (Yang et al. 2019, sections 2.4 and 2.5)."""
    out, clamp, memory = 0, config.clamp_length or math.inf, len(context) - len(x)
    for n in range(config.num_heads):
        head = {name: p[name]["kernel"][:, n] for name in ("query", "key", "value", "distance")}
        q, k, v = x @ head["query"], context @ head["key"], context @ head["value"]
        q, k = (unit(q, 1e-12), unit(k, 1e-12)) if config.qk_norm else (q, k)
        u, w = p["content_bias"][n], p["distance_bias"][n]

        def score(i, j, q=q, k=k, u=u, w=w, head=head, n=n):
            distance = row.direction * min(max(memory + i - j, -clamp), clamp)
            r = sinusoid(distance, len(x[0])) @ head["distance"]
            total = (q[i] + u) @ k[j] + (q[i] + w) @ r
            if config.relative_segments:
                other = row.segments[i] != (0 if j < memory else row.segments[j - memory])
                total += (q[i] + p["segment_bias"][n]) @ p["segment"][int(other), n]
            return total / math.sqrt(len(u))

        out = out + mix(score, len(x), list(range(len(context))), v, sees) @ p["out"]["kernel"][n]
    return out
