"""Findings of the literature, as yardsticks on known sources: one file a finding, and how all of them ask."""
