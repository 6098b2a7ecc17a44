"""Metadata, dependencies and extras; the tools are configured in pyproject.toml.

Installing makes the environment and nothing else: the commands run from the checkout, so no package of ours is ever
copied into site-packages, where names such as `data` and `models` would meet other people's.
"""

from setuptools import setup

setup(
    name="orderly",
    version="0.1.0",
    description="BERT, GPT and XLNet: one likelihood in three orders, pretrained in JAX through one jit-compiled step",
    author="The Orderly Authors",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[],
    py_modules=[],
    # jax and flax carry no upper bound: pip picks a pair of releases that work together on each Python.
    install_requires=[
        "absl-py",
        "flax>=0.12.8",
        "jax>=0.10",
        "jaxtyping",
        "matplotlib",
        "numpy>=2",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.12,<1",
        "safetensors>=0.5",
        "scipy",
        "sentencepiece>=0.2",
        "tensorboardX",
        "tensorstore",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "cuda13": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "hub": ["tokenizers>=0.21"],  # reads tokenizer.json, vocab.txt and merges.txt of Hugging Face folders
        "remote": ["fsspec[http]", "gcsfs", "s3fs"],  # corpora at https://, gs:// and s3://
        # What the parity tests compare with. On Linux, PyPI's torch brings CUDA: PyTorch's index has one without.
        "parity": [
            *("nltk>=3.9", "scikit-learn>=1.5", "seqeval==1.2.2"),
            *("tokenizers>=0.21", "torch==2.13.0", "transformers==5.23.0"),
        ],
        "dev": [
            "aiohttp",  # of the extra remote: the tests have a server of their own
            "beartype",
            "hypothesis",
            "markdown-it-py",  # a foreign reader of our Markdown
            "pre-commit",
            "pytest>=8",
            "pytest-xdist",
            # Exact versions: a newer release may hold newer opinions of unchanged code.
            "codespell==2.4.3",
            "pyright[nodejs]==1.1.414",
            "ruff==0.17.5",
        ],
    },
)
