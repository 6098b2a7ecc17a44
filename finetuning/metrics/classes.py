"""Metrics of classes, which are integers: accuracy and F1."""

import numpy as np
from jaxtyping import Int

from finetuning.metrics.overlap import Overlap


def accuracy(predicted: Int[np.ndarray, " Q"], truth: Int[np.ndarray, " Q"]) -> float:
    """Which part of the examples is right; 0 of none."""
    return float(np.mean(predicted == truth)) if len(truth) else 0.0


def f1(predicted: Int[np.ndarray, " Q"], truth: Int[np.ndarray, " Q"], positive: int = 1) -> float:
    """F1 of one class, as for MRPC and QQP; 0 where no example of it is predicted rightly."""
    found, there = predicted == positive, truth == positive
    return Overlap(int((found & there).sum()), int(found.sum()), int(there.sum())).f1


def macro_f1(predicted: Int[np.ndarray, " Q"], truth: Int[np.ndarray, " Q"]) -> float:
    """The mean F1 of all classes that are predicted or true somewhere, each as important; 0 where there are none."""
    classes = np.union1d(predicted, truth)
    return sum(f1(predicted, truth, int(each)) for each in classes) / max(len(classes), 1)
