"""BERT equals Hugging Face's, value by value, gradients too."""

import jax.numpy as jnp
import numpy as np
import pytest

import peer
from batch import Batch, Targets, Vocab
from models import BertConfig
from objectives import MaskedLm
from objectives.base import eligible, show

V, D = 50, 16
SIZE = {"num_layers": 3, "num_heads": 2, "model_dim": D, "mlp_dim": 32, "max_length": 16}
VOCAB = Vocab(size=V, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3)


def theirs(**fields):
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": D, "intermediate_size": 32}
    config = peer.transformers.BertConfig(vocab_size=V, max_position_embeddings=16, **sizes, **fields)
    return peer.loud_peer(peer.transformers.BertForPreTraining, config)


def everything(batch: Batch):
    """Both sides see all real tokens and predict at every position."""
    inputs = show(batch, order=jnp.zeros((peer.B, peer.L), jnp.int32), predict=peer.EVERYWHERE)
    arguments = {
        "input_ids": peer.tensor(batch.tokens),
        "token_type_ids": peer.tensor(batch.segments),
        "attention_mask": peer.tensor(batch.document),
        "position_ids": peer.tensor(inputs.position),  # theirs count from the row's start, padding included
    }
    return inputs, arguments


@pytest.mark.parametrize(
    ("side", "activation"), [("right", "gelu"), ("left", "gelu"), ("right", "gelu_new"), ("right", "relu")]
)
def test_every_layer_every_attention_map_and_both_heads_agree(side, activation):
    model = theirs(hidden_act=activation)
    config = BertConfig(**SIZE, activation="gelu_tanh" if activation == "gelu_new" else activation)
    batch = peer.padded(V, side)
    inputs, arguments = everything(batch)
    params, read = peer.reader(model, config)
    output, logits = read(params, inputs)
    expected = model(**arguments, output_hidden_states=True, output_attentions=True)
    real = np.asarray(batch.document) > 0
    for n in range(4):  # the embeddings, then each layer
        peer.assert_close(output.layers[n], expected.hidden_states[n], where=real)
    for n in range(3):
        heads = np.broadcast_to(real[:, None, :], (peer.B, 2, peer.L))
        peer.assert_close(output.attention[n], expected.attentions[n], where=heads)
    peer.assert_close(logits, expected.prediction_logits, where=real)


def test_the_pooler_and_the_pair_decision_agree():
    model, config, batch = theirs(), BertConfig(**SIZE), peer.padded(V, "right")
    inputs, arguments = everything(batch)
    params, read = peer.reader(model, config)
    output, _ = read(params, inputs)
    pooled = model.bert(**arguments).pooler_output
    peer.assert_close(output.pooled, pooled)
    head = params["pair_head"]["decision"]
    peer.assert_close(
        np.asarray(output.pooled) @ head["kernel"] + head["bias"], model(**arguments).seq_relationship_logits
    )


def test_the_loss_and_every_gradient_agree():
    """Masked tokens and sentence pairs: a mean over targets plus a mean over rows."""
    model, config, batch = theirs(), BertConfig(**SIZE), peer.padded(V, "right")
    inputs, arguments = everything(batch)
    chosen = np.asarray(eligible(batch, VOCAB)) & (np.random.default_rng(1).random((peer.B, peer.L)) < 0.4)
    labels = np.where(chosen, np.random.default_rng(2).integers(4, V, (peer.B, peer.L)), -100)
    targets = Targets(
        labels=np.where(chosen, labels, 0).astype(np.int32),
        weights=chosen.astype(np.float32),
        task=batch.task,
        task_weights=np.ones(peer.B, np.float32),
    )
    expected = model(**arguments, labels=peer.tensor(labels), next_sentence_label=peer.tensor(batch.task.label)).loss
    expected.backward()
    params, _ = peer.reader(model, config)
    loss, gradients = peer.descent(config, V, MaskedLm(pair_weight=1.0))(params, inputs, targets)
    assert abs(float(loss) - expected.item()) <= peer.VALUES * abs(expected.item())
    peer.assert_gradients_close(gradients, peer.gradients(model, config))


def test_gelu_in_its_other_form_is_noticed():
    """The forms differ by 5e-4 at most, which is far more than the tolerance."""
    model, batch = theirs(hidden_act="gelu"), peer.padded(V, "right")
    inputs, arguments = everything(batch)
    params, read = peer.reader(model, BertConfig(**SIZE, activation="gelu_tanh"))
    _, logits = read(params, inputs)
    with pytest.raises(AssertionError):
        peer.assert_close(logits, model(**arguments).prediction_logits, where=np.asarray(batch.document) > 0)
