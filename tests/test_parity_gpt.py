"""GPT equals Hugging Face's GPT-2, value by value, gradients too."""

import numpy as np
import pytest

import peer
from batch import Batch, Targets
from models import GptConfig
from objectives import CausalLm
from objectives.base import show

V, D = 50, 16
CONFIG = GptConfig(num_layers=3, num_heads=2, model_dim=D, mlp_dim=48, max_length=16)


def theirs(**fields):
    sizes = {"n_layer": 3, "n_head": 2, "n_embd": D, "n_inner": 48, "n_positions": 16}
    config = peer.transformers.GPT2Config(vocab_size=V, bos_token_id=None, eos_token_id=None, **sizes, **fields)
    return peer.loud_peer(peer.transformers.GPT2LMHeadModel, config)


def everything(batch: Batch):
    """Left to right, a prediction at every position."""
    inputs = show(batch, order=peer.EVERYWHERE, predict=peer.EVERYWHERE)
    arguments = {
        "input_ids": peer.tensor(batch.tokens),
        "attention_mask": peer.tensor(batch.document),
        "position_ids": peer.tensor(inputs.position),  # theirs count from the row's start, padding included
    }
    return inputs, arguments


@pytest.mark.parametrize(("side", "activation"), [("right", "gelu_new"), ("left", "gelu_new"), ("right", "gelu")])
def test_every_layer_every_attention_map_and_the_logits_agree(side, activation):
    model, batch = theirs(activation_function=activation), peer.padded(V, side)
    config = CONFIG if activation == "gelu_new" else GptConfig(**{**CONFIG.__dict__, "activation": "gelu"})
    inputs, arguments = everything(batch)
    params, read = peer.reader(model, config)
    output, logits = read(params, inputs)
    expected = model(**arguments, output_hidden_states=True, output_attentions=True)
    real = np.asarray(batch.document) > 0
    for n in range(3):  # the embeddings, then each layer; theirs ends with the last norm's output, ours before it
        peer.assert_close(output.layers[n], expected.hidden_states[n], where=real)
    peer.assert_close(output.hidden, expected.hidden_states[3], where=real)
    for n in range(3):
        heads = np.broadcast_to(real[:, None, :], (peer.B, 2, peer.L))
        peer.assert_close(output.attention[n], expected.attentions[n], where=heads)
    peer.assert_close(logits, expected.logits, where=real)


def test_the_loss_and_every_gradient_agree():
    model, batch = theirs(), peer.padded(V, "right")
    inputs, arguments = everything(batch)
    real = np.asarray(batch.document) > 0
    expected = model(**arguments, labels=peer.tensor(np.where(real, batch.tokens, -100))).loss  # they shift labels
    expected.backward()
    follows = np.pad(real[:, 1:], ((0, 0), (0, 1)))
    targets = Targets(
        labels=np.where(follows, np.roll(batch.tokens, -1, axis=1), 0), weights=follows.astype(np.float32)
    )
    params, _ = peer.reader(model, CONFIG)
    loss, gradients = peer.descent(CONFIG, V, CausalLm())(params, inputs, targets)
    assert abs(float(loss) - expected.item()) <= peer.VALUES * abs(expected.item())
    peer.assert_gradients_close(gradients, peer.gradients(model, CONFIG))
