"""A run as a Hugging Face folder: weights, config, tokenizer and a model card."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.tokenizer import AnyTokenizer
from interop.config_export import to_config
from interop.families import family_name
from interop.tensors import write_tensors
from interop.tokenizers import export_tokenizer
from interop.weights import to_tensors
from training.config import Experiment, to_dict

EXPERIMENT = "orderly.json"
"""Our own description, so that a folder that comes back becomes the run that it was."""


def export(experiment: Experiment, params: dict[str, Any], tokenizer: AnyTokenizer, step: int, folder: Path) -> str:
    """Writes the folder and returns the class of theirs that loads it. Raises InputError where there is none."""
    vocab_size = len(params["tokens"]["table"])
    config = to_config(experiment, tokenizer.vocab, vocab_size)
    tensors = to_tensors(params, experiment.model)
    architecture = config["architectures"][0]
    write_tensors(tensors, folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / EXPERIMENT).write_text(json.dumps(to_dict(experiment), indent=2) + "\n")
    export_tokenizer(tokenizer, family_name(experiment.model), folder)
    size = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())
    (folder / "README.md").write_text(_card(experiment, architecture, size, step))
    return architecture


def _card(experiment: Experiment, architecture: str, size: int, step: int) -> str:
    """What the folder holds, and no claim that was not measured."""
    data, model, total = experiment.data, experiment.model, experiment.optimizer.total_steps
    facts = {
        "objective": type(experiment.objective).__name__,
        "model": f"{type(model).__name__}, {model.num_layers} layers, width {model.model_dim}, {size:,} parameters",
        "checkpoint": f"after {step:,} of {total:,} steps"
        if step
        else "weights that were imported, not trained further",
    }
    if step:
        facts["data"] = f"{Path(data.corpus).name}, windows of {data.length} tokens, {data.batch_size} a step"
    rows = "\n".join(f"| {name} | {fact} |" for name, fact in facts.items())
    return f"""---
library_name: transformers
tags: [orderly]
---

# {architecture}

Exported by Orderly (JAX and Flax) to PyTorch's layout.

```python
from transformers import {architecture}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH_OF_THIS_FOLDER")
model = {architecture}.from_pretrained("PATH_OF_THIS_FOLDER")
```

| | |
|---|---|
{rows}

`orderly.json` holds the whole experiment. No evaluation is reported here: measure before you rely on it.
"""
