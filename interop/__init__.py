"""Released checkpoints in, ours out: weights, configs and tokenizers of Hugging Face folders."""
