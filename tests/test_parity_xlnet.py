"""XLNet equals Hugging Face's, both streams, memory over several windows, both directions; gradients too.

Where theirs departs from the release, the test goes around it: their erf GELU is set to the tanh form, an empty memory
is given as zeros, positions that see nothing are left out, and attn_type "uni" runs without a second mask.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import peer
from batch import VOID, Inputs, Memory, Targets
from models import XlnetConfig
from models.memory import empty_memory
from objectives import PermutationLm

V, B, L, N, H, D = 50, 4, 12, 3, 2, 16
SIZE: dict[str, Any] = {"num_layers": N, "num_heads": H, "model_dim": D, "mlp_dim": 32}
MEMORY, REUSE = 8, 6


def theirs(**fields):
    config = peer.transformers.XLNetConfig(
        vocab_size=V, n_layer=N, n_head=H, d_model=D, d_inner=32, dropout=0.0,
        **{"ff_activation": "gelu_new", "mem_len": None, "use_mems_eval": False, **fields},
    )  # fmt: skip
    return peer.loud_peer(peer.transformers.XLNetLMHeadModel, config)


def window(step: int = 0, num_context: int = 7, **fields: Any) -> Inputs:
    """Random tokens and segments; in each row, a random order of some targets after some context."""
    rng = np.random.default_rng(step)
    order, predict = np.zeros((B, L), np.int32), np.zeros((B, L - num_context), np.int32)
    for row in range(B):
        targets = np.sort(rng.permutation(L)[num_context:])
        order[row, targets] = 1 + rng.permutation(len(targets))
        predict[row] = targets
    return made(rng.integers(0, V, (B, L)), order, predict, segments=rng.integers(0, 2, (B, L)), **fields)


def made(tokens, order, predict, segments=None, **fields: Any) -> Inputs:
    rows, real = len(tokens), np.asarray(order) != VOID
    defaults: dict[str, Any] = {"blind": jnp.ones(rows, bool), "query_stream": True}
    return Inputs(
        tokens=jnp.asarray(tokens, jnp.int32),
        segments=jnp.zeros_like(jnp.asarray(tokens, jnp.int32))
        if segments is None
        else jnp.asarray(segments, jnp.int32),
        document=jnp.asarray(real, jnp.int32),
        position=jnp.tile(jnp.arange(tokens.shape[1], dtype=jnp.int32), (rows, 1)),
        order=jnp.asarray(order, jnp.int32),
        predict=jnp.asarray(predict, jnp.int32),
        summary=jnp.zeros(rows, jnp.int32),
        **{**defaults, **fields},
    )


def arguments(inputs: Inputs, *, segments: bool = True) -> dict[str, Any]:
    """The same for theirs: 1 in perm_mask hides; the query stream's rule, of which they clear the diagonal for content.

    Context tokens see each other, and no query is asked of them.
    """
    order = np.asarray(inputs.order)
    own, other = order[:, :, None], order[:, None, :]
    seen = (other < own) | ((own == 0) & (other == 0))
    given = {"input_ids": peer.tensor(inputs.tokens), "perm_mask": peer.tensor(~seen, peer.torch.float32)}
    if segments:
        given["token_type_ids"] = peer.tensor(inputs.segments)
    if inputs.query_stream:
        mapping = np.eye(order.shape[1], dtype=np.float32)[np.asarray(inputs.predict)]
        given["target_mapping"] = peer.tensor(mapping)
    return given


def memory_of(mems: Any) -> Memory:
    """Their memories, `[M B D]` for each layer, as ours; all of it seen."""
    hidden = np.stack([m.detach().numpy().swapaxes(0, 1) for m in mems])
    return Memory(
        hidden=jnp.asarray(hidden),
        valid=jnp.ones(hidden.shape[1:3], bool),
        document=jnp.zeros(hidden.shape[1:3], jnp.int32),
    )


def assert_streams_agree(output, logits, expected, where=None) -> None:
    """Content and query stream after every layer, attention maps of both, logits."""
    for n in range(N + 1):
        peer.assert_close(output.layers[n], expected.hidden_states[2 * n], where=where)
    for n in range(N):
        content, query = expected.attentions[n]
        peer.assert_close(output.attention[n], content)
        assert query.shape[2] == L  # theirs scatters the queries over all positions
    peer.assert_close(output.hidden, expected.hidden_states[2 * N + 1])
    peer.assert_close(logits, expected.logits)


@pytest.mark.parametrize("segments", [True, False])
def test_both_streams_agree_after_every_layer(segments):
    """Without segments theirs skips the term; ours, with all tokens in one, adds a constant to every score."""
    model, inputs = theirs(), window()
    if not segments:
        inputs = inputs.replace(segments=jnp.zeros_like(inputs.segments))
    params, read = peer.reader(model, XlnetConfig(**SIZE))
    output, logits = read(params, inputs)
    expected = model(**arguments(inputs, segments=segments), output_hidden_states=True, output_attentions=True)
    assert_streams_agree(output, logits, expected)
    for n in range(N):
        query = expected.attentions[n][1].detach().numpy()
        rows = np.take_along_axis(query, np.asarray(inputs.predict)[:, None, :, None], axis=2)
        peer.assert_close(output.query_attention[n], rows)


@pytest.mark.parametrize("fields", [{}, {"clamp_len": 5}, {"bi_data": True}], ids=["plain", "clamp", "both directions"])
def test_three_windows_with_memory_agree(fields):
    """mem_len > reuse_len: the memory holds the parts of two earlier windows. It begins as zeros that are seen."""
    model = theirs(mem_len=MEMORY, reuse_len=REUSE, use_mems_eval=True, **fields)
    config = XlnetConfig(**SIZE, memory_length=MEMORY, clamp_length=fields.get("clamp_len", 0))
    direction = jnp.asarray([1, 1, -1, -1]) if fields.get("bi_data") else None  # theirs: by place in the batch
    params, read = peer.reader(model, config)
    memory = empty_memory(N, B, MEMORY, D, attended=True)
    mems = [peer.torch.zeros(MEMORY, B, D) for _ in range(N)]
    for step in range(3):
        inputs = window(step, reuse=REUSE, direction=direction)
        output, logits = read(params, inputs, memory)
        expected = model(**arguments(inputs), mems=mems, output_hidden_states=True, output_attentions=True)
        assert_streams_agree(output, logits, expected)
        memory, mems = output.memory, list(expected.mems)
        peer.assert_close(memory.hidden, memory_of(mems).hidden)


def test_a_memory_that_nobody_sees_yet_is_no_memory():
    """Theirs starts without any and lets it grow; ours starts with slots that are masked."""
    model = theirs(mem_len=MEMORY, reuse_len=REUSE, use_mems_eval=True)
    config = XlnetConfig(**SIZE, memory_length=MEMORY, empty_memory="masked")
    params, read = peer.reader(model, config)
    memory, mems = empty_memory(N, B, MEMORY, D, attended=False), None
    for step in range(2):
        inputs = window(step, reuse=REUSE)
        output, logits = read(params, inputs, memory)
        expected = model(**arguments(inputs), mems=mems)
        peer.assert_close(logits, expected.logits)
        memory, mems = output.memory, list(expected.mems)
        peer.assert_close(memory.hidden[:, :, -len(mems[0]) :], memory_of(mems).hidden)


@pytest.mark.parametrize("same_length", [False, True])
def test_a_causal_order_is_attention_of_type_uni(same_length):
    """The single stream of Transformer-XL, over two windows."""
    model = theirs(attn_type="uni", same_length=same_length, mem_len=L, use_mems_eval=True)
    config = XlnetConfig(**SIZE, memory_length=L, same_length=same_length)
    params, read = peer.reader(model, config)
    memory, mems = empty_memory(N, B, L, D, attended=True), [peer.torch.zeros(L, B, D) for _ in range(N)]
    for step in range(2):
        tokens = np.random.default_rng(step).integers(0, V, (B, L))
        index = np.tile(np.arange(L), (B, 1))
        inputs = made(tokens, index, index, blind=jnp.zeros(B, bool), query_stream=False)
        output, logits = read(params, inputs, memory)
        expected = model(input_ids=peer.tensor(tokens), mems=mems, output_hidden_states=True, output_attentions=True)
        for n in range(N + 1):
            peer.assert_close(output.layers[n], expected.hidden_states[n])
        for n in range(N):
            peer.assert_close(output.attention[n], expected.attentions[n])
        peer.assert_close(logits, expected.logits)
        memory, mems = output.memory, list(expected.mems)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_on_either_side_agrees(side):
    """One stream that sees all real tokens, as in fine-tuning."""
    model, batch = theirs(), peer.padded(V, side)
    real = np.asarray(batch.document) > 0
    order = np.where(real, 0, VOID)
    index = np.tile(np.arange(L), (B, 1))
    single = {"blind": jnp.zeros(B, bool), "query_stream": False}
    inputs = made(batch.tokens, order, index, segments=batch.segments, **single)
    params, read = peer.reader(model, XlnetConfig(**SIZE))
    output, logits = read(params, inputs)
    expected = model(
        input_ids=peer.tensor(batch.tokens),
        token_type_ids=peer.tensor(batch.segments),
        attention_mask=peer.tensor(real, peer.torch.float32),
        output_hidden_states=True,
    )
    for n in range(N + 1):
        peer.assert_close(output.layers[n], expected.hidden_states[n], where=real)
    peer.assert_close(logits, expected.logits, where=real)


@pytest.mark.parametrize("with_memory", [False, True])
def test_the_loss_and_every_gradient_agree(with_memory):
    """Two streams, segments and, given, a memory, into which no gradient flows on either side."""
    model, inputs = theirs(mem_len=MEMORY, use_mems_eval=True), window()
    config = XlnetConfig(**SIZE, memory_length=MEMORY if with_memory else 0)
    mems = [peer.torch.randn(MEMORY, B, D) for _ in range(N)] if with_memory else None
    labels = np.take_along_axis(np.asarray(inputs.tokens), np.asarray(inputs.predict), axis=1)
    weights = np.ones_like(labels, np.float32)
    weights[0, 1:] = 0  # a row with one target
    ignored = np.where(weights > 0, labels, -100)
    expected = model(**arguments(inputs), mems=mems, labels=peer.tensor(ignored)).loss
    expected.backward()
    params, _ = peer.reader(model, config)
    targets = Targets(labels=labels, weights=weights)
    descent = peer.descent(config, V, PermutationLm())
    loss, gradients = descent(params, inputs, targets, memory_of(mems) if mems else None)
    assert abs(float(loss) - expected.item()) <= peer.VALUES * abs(expected.item())
    peer.assert_gradients_close(gradients, peer.gradients(model, config))
