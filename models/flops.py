"""Floating-point operations, counted from the formulas: what a step must compute, however it is compiled.

Only matrix products count, each multiply-add as two operations. Counting by hand is necessary because XLA counts the
body of a scan once, whatever the number of layers.
"""

from models import ModelConfig, XlnetConfig
from models.bert import BertConfig
from models.factored import basis


def forward_flops(
    config: ModelConfig, vocab_size: int, batch_size: int, length: int, predictions: int, *, query_stream: bool
) -> int:
    """Operations of one forward pass of `batch_size` rows of L tokens with P predictions each."""
    dim, mlp_dim = config.model_dim, config.mlp_dim
    rows = length + (predictions if query_stream else 0)
    keys = config.memory_length + length
    layer = rows * (2 * dim * dim + (3 if config.gated else 2) * dim * mlp_dim)  # query, out, feed-forward
    layer += keys * 2 * dim * dim  # key, value
    layer += 2 * rows * keys * dim  # scores, mean of values
    total = batch_size * layer
    if isinstance(config, XlnetConfig):
        total += distance_products(config, batch_size, rows, keys, length)
        total += batch_size * rows * 2 * dim if config.relative_segments else 0
    head = predictions * dim * vocab_size
    if isinstance(config, BertConfig):
        head += predictions * dim * dim
    pair = dim * dim + 2 * dim if config.pair_head else 0
    return 2 * (config.num_layers * total + batch_size * (head + pair))


def distance_products(config: XlnetConfig, batch_size: int, rows: int, keys: int, length: int) -> int:
    """Multiply-adds of one layer's scores by distance, in the form that training takes."""
    dim = config.model_dim
    dropped = config.dropout_rate > 0 and config.distance_dropout != "none"
    if config.distance_form == "shift" or config.clamp_length or dropped:
        distances, tables = keys + length, batch_size if dropped and config.distance_dropout == "row" else 1
        return tables * distances * dim * dim + batch_size * rows * distances * dim
    found = basis(dim, keys)
    features = 2 * len(found.frequencies)
    kernel = 0 if found.sines is None else features * dim * dim // 2
    return kernel + batch_size * rows * features * (dim + config.num_heads * keys)


def training_flops(
    config: ModelConfig, vocab_size: int, batch_size: int, length: int, predictions: int, *, query_stream: bool
) -> int:
    """Operations of one training step: the backward pass multiplies twice for each product of the forward pass."""
    return 3 * forward_flops(config, vocab_size, batch_size, length, predictions, query_stream=query_stream)
