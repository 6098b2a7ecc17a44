"""Text to batches: corpora, tokenizers, token shards and layouts; NumPy only."""
