"""Experiments: one a file, each with a function `get_config` that returns an Experiment."""
