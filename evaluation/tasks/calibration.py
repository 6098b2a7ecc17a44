"""The task `calibration`: whether the probabilities of the next token, and of a hidden one, are what they say."""

from collections.abc import Callable, Sequence

from evaluation.batched import Watch
from evaluation.blocks import Blocks
from evaluation.calibration import Answers, in_one_pass, of_ngrams, one_by_one
from evaluation.likelihood import Options, before, natural, sampled
from evaluation.passes import Subject
from evaluation.pseudo import all_but
from evaluation.reliability import Row, answer_table, answer_values, differences, reliability
from evaluation.task import Entry, Found, Settings, counted, watching

Ask = Callable[[Subject, Blocks, Settings, Watch], Answers]

ONE_SIDE, BOTH_SIDES = "one side", "both sides"


def calibration(entries: Sequence[Entry], settings: Settings) -> Found:
    """Confidence and accuracy on the tokens of each block that are sampled, the same for every model."""
    untrained = [entry.checkpoint.untrained() for entry in entries]
    tables, values, figures = [], {}, {}
    for title, ask in ((ONE_SIDE, in_reading_order), (BOTH_SIDES, from_both_sides)):
        both = title == BOTH_SIDES
        able = [i for i, entry in enumerate(entries) if entry.checkpoint.subject.any_order or not both]
        trained = [_row(entries[i], entries[i].checkpoint.subject, ask, settings, title) for i in able]
        random = [_row(entries[i], untrained[i], ask, settings, title, ", random weights") for i in able]
        if not able:
            tables.append(f"From {title}: not asked, for no checkpoint sees both sides of a token.")
            continue
        rows = [*trained, *_baselines(entries, settings, both_sides=both), *random]
        table, paired = differences(trained)
        tables += [f"From {title}{_missing(entries, able)}:", answer_table(rows), *table]
        values[title] = {"scores": [answer_values(row) for row in rows], "differences": paired}
        figures["calibration_both_sides" if both else "calibration"] = reliability(trained)
    return Found(tuple(tables), values, figures)


def in_reading_order(subject: Subject, blocks: Blocks, settings: Settings, watch: Watch) -> Answers:
    """Of the sampled tokens, each after those before it."""
    asked, batch = sampled(blocks, Options(positions=settings.positions)), settings.batch(subject)
    if subject.one_pass:
        return in_one_pass(subject, blocks, asked, batch, watch)
    return one_by_one(subject, blocks, asked, before(blocks, natural(blocks), settings.kappas[0]), batch, watch)


def from_both_sides(subject: Subject, blocks: Blocks, settings: Settings, watch: Watch) -> Answers:
    """Of the same tokens, each given all others."""
    asked = sampled(blocks, Options(positions=settings.positions))
    return one_by_one(subject, blocks, asked, all_but(blocks, whole=False), settings.batch(subject), watch)


def _row(entry: Entry, subject: Subject, ask: Ask, settings: Settings, title: str, suffix: str = "") -> Row:
    with watching(f"{entry.name}{suffix}, calibration from {title}") as watch:
        name = f"{entry.name}, right to left" if subject.backward else entry.name
        return Row(f"{name}{suffix}", ask(subject, entry.blocks, settings, watch))


def _baselines(entries: Sequence[Entry], settings: Settings, *, both_sides: bool) -> list[Row]:
    rows = []
    for name, entry, ngrams in counted(entries):
        asked = sampled(entry.blocks, Options(positions=settings.positions))
        rows.append(Row(f"{name}, {ngrams.name}", of_ngrams(ngrams, entry.blocks, asked, both_sides=both_sides)))
    return rows


def _missing(entries: Sequence[Entry], able: Sequence[int]) -> str:
    others = [entry.name for i, entry in enumerate(entries) if i not in able]
    return f" (not asked of {', '.join(others)})" if others else ""
