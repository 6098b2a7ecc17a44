"""Ablations: arms that differ in what a suite names, budgets that match, paired seeds, claims and their verdicts."""
