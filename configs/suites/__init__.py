"""Comparisons: one question a file, with its arms, its yardsticks and the claims that were written before the run."""
