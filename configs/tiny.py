"""What the three tiny experiments share: the same text in the same order, the same trunk, the same optimizer.

Made for `make demo`: each trains in about a minute and a half on two cores. There is no dropout, as a run this short
sees no text twice.
"""

from data.config import DataConfig
from models import ModelConfig
from objectives import Objective
from training.config import Experiment, OptimizerConfig, TrainingConfig

TRUNK = {
    "num_layers": 4,
    "num_heads": 4,
    "model_dim": 128,
    "mlp_dim": 512,
    "dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
}


def experiment(model: ModelConfig, objective: Objective) -> Experiment:
    return Experiment(
        model=model,
        objective=objective,
        data=DataConfig(layout="streams", vocab_size=4096, length=128, batch_size=16),
        optimizer=OptimizerConfig(total_steps=800, peak_rate=2e-3, warmup_steps=80, schedule="linear"),
        training=TrainingConfig(log_every=20, eval_every=200, eval_batches=40, save_every=200),
    )
