"""The two sides of the comparison: our training step and that of Hugging Face's PyTorch models, on the same shapes.

Every function here runs in a process of its own; torch is imported in those that need it.
"""

import dataclasses
import importlib
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from batch import Batch, InputError, Vocab
from benchmarks.worker import Held
from interop.config_export import to_config
from models import BertConfig, GptConfig, XlnetConfig, build_model
from models.flops import training_flops
from models.precision import Precision, contract
from objectives import CausalLm, MaskedLm, PermutationLm
from training.config import Experiment, OptimizerConfig
from training.optimizer import make_optimizer
from training.pages import keep_pages
from training.state import init_state
from training.step import make_train_step

Name = Literal["bert", "gpt", "xlnet"]


class Peer(NamedTuple):
    """Where a model is in transformers."""

    module: str
    model: str
    config: str


PEERS: dict[Name, Peer] = {
    "bert": Peer("transformers.models.bert.modeling_bert", "BertForMaskedLM", "BertConfig"),
    "gpt": Peer("transformers.models.gpt2.modeling_gpt2", "GPT2LMHeadModel", "GPT2Config"),
    "xlnet": Peer("transformers.models.xlnet.modeling_xlnet", "XLNetLMHeadModel", "XLNetConfig"),
}
OPTIMIZER = OptimizerConfig(warmup_steps=0, schedule="constant", peak_rate=1e-4)


@dataclasses.dataclass(frozen=True)
class Shape:
    """B rows of L tokens out of V, and a trunk of N layers, H heads and width D."""

    rows: int
    length: int
    layers: int
    heads: int
    dim: int
    vocab_size: int
    predict_one_in: float = 6.0  # XLNet's K
    memory: int = 0
    dropout: float = 0.1

    @property
    def vocab(self) -> Vocab:
        return Vocab(size=self.vocab_size, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3)

    def experiment(self, name: Name, precision: Precision) -> Experiment:
        """The model with the objective of its paper."""
        trunk: dict[str, Any] = {
            "num_layers": self.layers,
            "num_heads": self.heads,
            "model_dim": self.dim,
            "mlp_dim": 4 * self.dim,
            "dropout_rate": self.dropout,
            "attention_dropout_rate": self.dropout,
        }
        if name == "bert":
            model, objective = BertConfig(**trunk, max_length=self.length, pair_head=False), MaskedLm()
        elif name == "gpt":
            model, objective = GptConfig(**trunk, max_length=self.length), CausalLm()
        else:
            model, objective = XlnetConfig(**trunk, memory_length=self.memory), PermutationLm(self.predict_one_in)
        return Experiment(model, objective, optimizer=OPTIMIZER, precision=precision, remat="none")  # as theirs

    def batch(self) -> Batch:
        """One document in each row, every token a word."""
        tokens = np.random.default_rng(0).integers(4, self.vocab_size, (self.rows, self.length)).astype(np.int32)
        zeros = np.zeros(self.rows, np.int32)
        return Batch(
            tokens=tokens,
            segments=np.zeros_like(tokens),
            document=np.ones_like(tokens),
            word=np.broadcast_to(np.arange(self.length, dtype=np.int32), tokens.shape),
            example=np.arange(self.rows, dtype=np.int32),
            epoch=zeros,
            fresh=np.zeros(self.rows, bool),
            summary=zeros,
        )

    def flops(self, name: Name) -> int:
        """Operations of one training step: those that the task needs, whoever does more."""
        experiment = self.experiment(name, "float32")
        inputs = jax.eval_shape(lambda: experiment.objective.prepare(self.batch(), self.vocab, jax.random.key(0))[0])
        return training_flops(
            experiment.model,
            self.vocab_size,
            self.rows,
            self.length,
            inputs.predict.shape[1],
            query_stream=inputs.query_stream,
        )


def ours(shape: Shape, name: Name, precision: Precision) -> Held:
    """Our step: corruption, forward and backward pass, clipping and AdamW, on one batch."""
    keep_pages()  # as every command of ours does
    e = shape.experiment(name, precision)
    model = build_model(e.model, shape.vocab_size, precision=precision, remat=e.remat)
    optimizer = make_optimizer(e.optimizer)
    state, batch = init_state(model, optimizer, shape.rows, 0), jax.device_put(shape.batch())
    step = make_train_step(model, e.objective, shape.vocab, optimizer)

    def run() -> None:
        nonlocal state
        state, record = step(state, batch, 0)  # the step consumes the state
        jax.block_until_ready((state, record))

    return Held(run, _peak)


def _peak() -> int | None:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def installed(name: str) -> Any:
    """A library of the extra `parity`. Raises InputError where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed: pip install -e '.[parity]'.") from None


def theirs(shape: Shape, name: Name, autocast: bool, everywhere: bool, compiled: bool, kept: bool = False) -> Held:
    """Their step on the same objective: forward and backward pass, clipping and AdamW, on one batch.

    The mask is drawn before. BERT's head is computed at all L positions if `everywhere`, as its class for masked
    language modeling does, or else where a target is. If `kept`, the C library keeps pages for them as it does for us.
    """
    if kept:
        keep_pages()
    torch = installed("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = peer(shape, name).to(device).train()
    inputs = {name: torch.as_tensor(x, device=device) for name, x in peer_inputs(shape, name).items()}
    plain, loss_of = model, _everywhere if everywhere or name != "bert" else _where_asked
    model = torch.compile(model) if compiled else model
    rest, decayed = [], []
    for parameter in plain.parameters():
        (decayed if parameter.dim() > 1 else rest).append(parameter)
    groups = [{"params": decayed, "weight_decay": OPTIMIZER.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=OPTIMIZER.peak_rate, eps=OPTIMIZER.epsilon, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = loss_of(model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), OPTIMIZER.clip)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return Held(run, lambda: torch.cuda.max_memory_allocated() if device == "cuda" else None)


def _everywhere(model: Any, inputs: dict[str, Any]) -> Any:
    return model(**inputs).loss


def _where_asked(model: Any, inputs: dict[str, Any]) -> Any:
    torch = installed("torch")
    asked = inputs["labels"] >= 0
    hidden = model.bert(inputs["input_ids"]).last_hidden_state[asked]
    return torch.nn.functional.cross_entropy(model.cls(hidden), inputs["labels"][asked])


def peer(shape: Shape, name: Name) -> Any:
    """Their model of these shapes, with the attention that the library chooses for itself."""
    transformers = installed("transformers")
    transformers.logging.set_verbosity_error()
    values = to_config(shape.experiment(name, "float32"), shape.vocab, shape.vocab_size)
    values = {field: value for field, value in values.items() if field not in ("architectures", "model_type")}
    config = getattr(transformers, PEERS[name].config)(**values, use_cache=False)
    return getattr(transformers, PEERS[name].model)(config)


def peer_inputs(shape: Shape, name: Name) -> dict[str, np.ndarray]:
    """What their model reads: the text, what is hidden, and what is asked."""
    batch, e = shape.batch(), shape.experiment(name, "float32")
    inputs, targets = jax.device_get(e.objective.prepare(batch, shape.vocab, jax.random.key(0)))
    text = np.asarray(inputs.tokens, np.int64)
    labels = np.asarray(targets.labels, np.int64)
    if name == "gpt":
        return {"input_ids": text, "labels": text}
    if name == "bert":
        everywhere = np.full(text.shape, -100)
        used = np.asarray(targets.weights) > 0
        everywhere[np.nonzero(used)[0], np.asarray(inputs.predict)[used]] = labels[used]
        return {"input_ids": text, "labels": everywhere}
    order = np.asarray(inputs.order)
    at = np.asarray(inputs.predict)[:, :, None] == np.arange(shape.length)
    hidden = order[:, None, :] > order[:, :, None]
    hidden |= (order[:, None, :] == order[:, :, None]) & (order[:, :, None] > 0)
    return {
        "input_ids": text,
        "labels": labels,
        "perm_mask": hidden.astype(np.float32),
        "target_mapping": at.astype(np.float32),
    }


def our_product(size: int, precision: Precision) -> Held:
    """A square product, as our models multiply."""
    a = jnp.ones((size, size))
    multiply = jax.jit(lambda a: contract("mk,kn->mn", a, a, precision))
    return Held(lambda: jax.block_until_ready(multiply(a)))


def their_product(size: int, autocast: bool) -> Held:
    """A square product in torch."""
    torch = installed("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.ones(size, size, device=device, dtype=torch.bfloat16 if autocast else torch.float32)

    def run() -> None:
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()

    return Held(run)
