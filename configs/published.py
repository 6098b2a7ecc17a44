"""The published sizes, base and large, with the recipe of each model's paper and release."""

from configs.shared import trunk
from data.config import DataConfig
from models import BertConfig, GptConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm
from training.config import Experiment, OptimizerConfig, TrainingConfig

CADENCE = TrainingConfig(log_every=100, eval_every=10_000, eval_batches=1000, save_every=5000)


def bert(layers: int, heads: int, dim: int) -> Experiment:
    """Devlin et al. 2019, appendix A.2: sentence pairs, 15 % masked, Adam without bias correction, linear decay.

    As in the release, pairs and masks come again after ten epochs, random tokens are drawn from the whole vocabulary,
    and the rate starts at 0 and drops by a hundredth where the warm-up ends. The paper trains nine tenths of its steps
    on windows of 128 tokens: run that phase with --config.data.length=128, and go on with --config.init_from.
    """
    return Experiment(
        model=BertConfig(**trunk(layers, heads, dim, dropout=0.1, initializer_range=0.02)),
        objective=MaskedLm(pair_weight=1.0, random_from="vocabulary", static_draws=10),
        data=DataConfig(layout="pairs", passes=10, vocab_size=30_522, length=512, batch_size=256),
        optimizer=OptimizerConfig(
            total_steps=1_000_000,
            peak_rate=1e-4,
            warmup_steps=10_000,
            warmup="from_zero",
            decay_from="start",
            epsilon=1e-6,
            bias_correction=False,
        ),
        training=CADENCE,
    )


def gpt(layers: int, heads: int, dim: int) -> Experiment:
    """Radford et al. 2019 for the model; its optimizer was not published, and is that of Radford et al. 2018.

    The release of 2018 adds Adam's epsilon before the bias correction, and its cosine begins at step 0.
    """
    return Experiment(
        model=GptConfig(**trunk(layers, heads, dim, dropout=0.1, initializer_range=0.02)),
        objective=CausalLm(),
        data=DataConfig(layout="windows", vocab_size=50_257, length=1024, batch_size=512),
        optimizer=OptimizerConfig(
            total_steps=100_000,
            peak_rate=2.5e-4,
            warmup_steps=2000,
            warmup="from_zero",
            schedule="cosine",
            decay_from="start",
            epsilon=1e-8,
            epsilon_hat=True,
        ),
        training=CADENCE,
    )


def xlnet(layers: int, heads: int, dim: int) -> Experiment:
    """Yang et al. 2019, table 7: halves of 256 tokens, a memory of 384, one token in six predicted, both directions.

    As in the release, segments and targets come again after the twenty passes that its instructions write, their
    orders do not, and the rate starts at 0 and ends at a thousandth of the peak.
    """
    return Experiment(
        model=XlnetConfig(
            **trunk(layers, heads, dim, dropout=0.1, initializer_range=0.02),
            memory_length=384,
            distance_dropout="row",
        ),
        objective=PermutationLm(num_predict=85, static_draws=20, reuse=256),
        data=DataConfig(
            layout="pairs",
            pair_format="xlnet",
            directions="both",
            passes=20,
            vocab_size=32_000,
            length=512,
            batch_size=8192,
        ),
        optimizer=OptimizerConfig(
            total_steps=500_000,
            peak_rate=4e-4,
            warmup_steps=40_000,
            warmup="from_zero",
            end_rate=1e-3,
            epsilon=1e-6,
            bias_correction=False,
        ),
        training=CADENCE,
    )
