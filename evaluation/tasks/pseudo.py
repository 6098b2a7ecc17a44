"""The task `pseudo`: what models that see both sides give each token from both sides."""

from collections.abc import Sequence

from evaluation.passes import Subject
from evaluation.pseudo import pseudo_log_likelihood, word_left_to_right
from evaluation.tables import Row, score_table, score_values
from evaluation.task import Entry, Found, Settings, watching


def pseudo(entries: Sequence[Entry], settings: Settings) -> Found:
    """Pseudo-log-likelihoods of the models that see both sides; no column of theirs holds a likelihood."""
    able = [entry for entry in entries if entry.checkpoint.subject.any_order]
    rows = [row for entry in able for row in _rows(entry, entry.checkpoint.subject, settings, entry.name)]
    for entry in able:
        rows += _rows(entry, entry.checkpoint.untrained(), settings, f"{entry.name}, random weights")
    tables = (score_table(rows),) if rows else ("No checkpoint sees both sides of a token: there is nothing to score.",)
    return Found(tables, {"scores": [score_values(row) for row in rows]})


def _rows(entry: Entry, subject: Subject, settings: Settings, name: str) -> list[Row]:
    rows = []
    for scorer in (pseudo_log_likelihood, word_left_to_right):
        with watching(f"{name}, {scorer.__name__.replace('_', ' ')}") as watch:
            rows.append(entry.row(scorer(subject, entry.blocks, settings.options(subject), watch), name))
    return rows
