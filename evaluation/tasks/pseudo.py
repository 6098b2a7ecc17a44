"""The task `pseudo`: what models that see both sides give each token from both sides."""

from collections.abc import Sequence

from evaluation.pseudo import pseudo_log_likelihood, word_left_to_right
from evaluation.tables import score_table, score_values
from evaluation.task import Entry, Found, Settings, watching


def pseudo(entries: Sequence[Entry], settings: Settings) -> Found:
    """Pseudo-log-likelihoods of the models that see both sides; no column of theirs holds a likelihood."""
    rows = []
    for entry in entries:
        subject = entry.checkpoint.subject
        if subject.any_order:
            for scorer in (pseudo_log_likelihood, word_left_to_right):
                with watching(f"{entry.name}, {scorer.__name__.replace('_', ' ')}") as watch:
                    rows.append(entry.row(scorer(subject, entry.blocks, settings.options(subject), watch)))
    tables = (score_table(rows),) if rows else ("No checkpoint sees both sides of a token: there is nothing to score.",)
    return Found(tables, {"scores": [score_values(row) for row in rows]})
