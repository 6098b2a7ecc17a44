"""What an ablation found, as a page, as Markdown, and as figures; it computes nothing that is not in the results."""
