"""Extractive question answering, but for the model: questions to windows of tokens, and scores of spans to answers."""
