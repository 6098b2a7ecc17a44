"""What the three models of one size share: the same text in the same order, the same trunk, the same optimizer.

Tiny, mini and small experiments read streams, so that XLNet's memory has something to remember, and differ only in
model and objective. The published sizes have recipes of their own.
"""

import dataclasses
from typing import Any

from data.config import DataConfig
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, Objective, PermutationLm
from training.config import Experiment, OptimizerConfig, TrainingConfig


@dataclasses.dataclass(frozen=True)
class Size:
    """Trunk, data, optimizer and cadence of one size."""

    trunk: dict[str, Any]
    data: DataConfig
    optimizer: OptimizerConfig
    training: TrainingConfig

    def experiment(self, model: ModelConfig, objective: Objective) -> Experiment:
        """What the models share, with nothing computed again in the backward pass: four layers keep little."""
        return Experiment(model, objective, self.data, self.optimizer, self.training, remat="none")

    def bert(self) -> Experiment:
        """Masked language modeling; no sentence pairs, as streams have none."""
        model = BertConfig(**self.trunk, max_length=self.data.length, pair_head=False)
        return self.experiment(model, MaskedLm())

    def gpt(self) -> Experiment:
        """Causal language modeling."""
        model = GptConfig(**self.trunk, max_length=self.data.length)
        return self.experiment(model, CausalLm())

    def xlnet(self) -> Experiment:
        """Permutation language modeling with a memory of half a window."""
        model = XlnetConfig(**self.trunk, memory_length=self.data.length // 2)
        return self.experiment(model, PermutationLm())


def trunk(layers: int, heads: int, dim: int, *, dropout: float, initializer_range: float) -> dict[str, Any]:
    """A trunk whose feed-forward blocks are four times as wide as it is."""
    return {
        "num_layers": layers,
        "num_heads": heads,
        "model_dim": dim,
        "mlp_dim": 4 * dim,
        "dropout_rate": dropout,
        "attention_dropout_rate": dropout,
        "initializer_range": initializer_range,
    }


TINY = Size(  # two cores, about a minute and a half; no dropout, as a run this short sees no text twice
    trunk=trunk(4, 4, 128, dropout=0.0, initializer_range=0.06),
    data=DataConfig(layout="streams", vocab_size=4096, length=64, batch_size=32),
    optimizer=OptimizerConfig(total_steps=450, peak_rate=1e-3, warmup_steps=45),
    training=TrainingConfig(log_every=10, eval_every=150, save_every=150, eval_batches=40),
)

MINI = Size(  # two cores, about an hour; one accelerator, minutes
    trunk=trunk(4, 4, 256, dropout=0.1, initializer_range=0.04),
    data=DataConfig(layout="streams", vocab_size=8192, length=128, batch_size=32),
    optimizer=OptimizerConfig(total_steps=10_000, peak_rate=1e-3, warmup_steps=500),
    training=TrainingConfig(log_every=50, eval_every=500, save_every=500),
)

SMALL = Size(  # one accelerator
    trunk=trunk(4, 8, 512, dropout=0.1, initializer_range=0.02),
    data=DataConfig(layout="streams", vocab_size=16_384, length=256, batch_size=64),
    optimizer=OptimizerConfig(total_steps=100_000, peak_rate=5e-4, warmup_steps=4000),
    training=TrainingConfig(log_every=100, eval_every=2000, save_every=2000),
)
