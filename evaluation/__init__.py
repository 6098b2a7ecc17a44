"""Numbers that may be compared between objectives: exact likelihoods first, each with what it says and what it cost."""
