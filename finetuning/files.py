"""Tasks that no leaderboard describes: a training file and a dev file, and where in them texts and labels stand."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from batch import InputError
from finetuning.examples import Tagged
from finetuning.formats.choices import ChoiceColumns, read_choices
from finetuning.formats.conll import read_conll
from finetuning.formats.conllu import read_conllu
from finetuning.formats.delimited import Column
from finetuning.formats.labeled import Columns, read_labeled
from finetuning.formats.labels import Known, Range, label_set
from finetuning.formats.squad import read_questions
from finetuning.metrics.answers_zh import CHINESE
from finetuning.task import Kind, Sets, Task

TABLES = (".tsv", ".csv", ".jsonl", ".txt")
WORDS = (".conllu", ".conll", ".tsv", ".txt")
JSONS = (".json",)

METRICS: dict[Kind, tuple[str, ...]] = {"classification": ("accuracy",), "regression": ("pearson", "spearman")}
IN_ENGLISH, IN_CHINESE = ("exact", "answer_f1"), ("exact_zh", "answer_f1_zh")
"""Of answers, as SQuAD's script judges them and as that of CMRC 2018 does."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the command was told of the files. A column is a name, or its number where the file has no header."""

    texts: tuple[str, ...] = ()  # columns of the text, or of both texts of a pair; of words, one
    label: str | None = None  # the column of the label or the tag; CoNLL-U's field of it
    train: str | None = None  # the file's name in the folder; None: the one with "train" in its name
    dev: str | None = None

    def choices(self) -> ChoiceColumns:
        """Where a table keeps a context, its endings and the right one. Raises InputError where that was not told."""
        if len(self.texts) < 3 or self.label is None:
            raise InputError(
                "--text and --label: name the columns of the context and of its endings, and that of the right one's "
                "index, as in --text=context,ending0,ending1 --label=label, or by number where the file has no header."
            )
        return ChoiceColumns(column(self.texts[0]), tuple(map(column, self.texts[1:])), column(self.label))

    def columns(self) -> Columns:
        """Where a table keeps its examples. Raises InputError where that was not told."""
        if not self.texts or self.label is None:
            raise InputError(
                "--text and --label: one of them is missing; name the columns, as in --text=question,sentence "
                "--label=label, or by number where the file has no header."
            )
        return Columns(tuple(map(column, self.texts)), column(self.label))


def labeled_sets(kind: Kind, folder: Path, layout: Layout, report: Callable[[str], None]) -> Sets:
    """Texts with a class or a number each, from a .tsv, .csv or .jsonl file."""
    columns = layout.columns()
    train, dev = (the_file(folder, name, stem, TABLES) for name, stem in ((layout.train, "train"), (layout.dev, "dev")))
    known: Known = Range() if kind == "regression" else None
    learned = read_labeled(train, columns, known, report)
    labels = () if kind == "regression" else label_set((str(each.label) for each in learned), str(train))
    judged = read_labeled(dev, columns, known or labels, report)
    return Sets(Task(named(folder), kind, METRICS[kind]), labels, learned, judged)


def tagged_sets(folder: Path, layout: Layout, report: Callable[[str], None]) -> Sets:
    """Words with a tag each, from columns or from CoNLL-U; entities are judged as such where the tags are theirs."""
    del report
    train, dev = (the_file(folder, name, stem, WORDS) for name, stem in ((layout.train, "train"), (layout.dev, "dev")))
    return of_words(named(folder), read_words(train, layout, None), read_words(dev, layout, None), str(train))


def of_words(name: str, learned: Sequence[Tagged], judged: Sequence[Tagged], source: str) -> Sets:
    """The sets of sentences; a tag that training lacks is judged, and never predicted.

    Raises InputError, naming the `source`, where the tags to learn from are too few.
    """
    labels = label_set((tag for each in learned for tag in each.tags or ()), source)
    unseen = sorted({tag for each in judged for tag in each.tags or ()} - set(labels))
    metric = "entity_f1" if are_entities(labels) else "tag_accuracy"
    return Sets(Task(name, "tagging", (metric,)), (*labels, *unseen), learned, judged)


def choice_sets(
    columns: ChoiceColumns | None, folder: Path, layout: Layout, report: Callable[[str], None], dev: str = "dev"
) -> Sets:
    """A context with several endings each, in columns that are known, or else told; `dev` is in the dev file's name."""
    if columns is not None and (layout.texts or layout.label is not None):
        raise InputError("--text and --label: the columns of this task are known; leave them out.")
    columns = columns or layout.choices()
    paths = (the_file(folder, name, stem, TABLES) for name, stem in ((layout.train, "train"), (layout.dev, dev)))
    learned, judged = (read_choices(path, columns, report) for path in paths)
    labels = tuple(map(str, range(len(columns.endings))))
    return Sets(Task(named(folder), "choice", ("accuracy",)), labels, learned, judged)


def question_sets(metrics: tuple[str, ...] | None, folder: Path, layout: Layout, report: Callable[[str], None]) -> Sets:
    """Questions about contexts, in SQuAD's JSON; where no metrics are named they are by the language of the answers.

    What is wrong with an answer is told by the question's id: in training it is left out, in the dev set its text is
    still a reference.
    """
    if layout.texts or layout.label is not None:
        raise InputError("--text and --label: SQuAD's JSON has no columns; leave them out.")
    train, dev = (the_file(folder, name, stem, JSONS) for name, stem in ((layout.train, "train"), (layout.dev, "dev")))
    learned = read_questions(train, training=True, report=report)
    judged = read_questions(dev, training=False, report=report)
    written = "".join(answer.text for each in judged for answer in each.answers)
    chinese = 2 * len(re.findall(f"[{CHINESE}]", written)) > len(written)
    return Sets(
        Task(named(folder), "extraction", metrics or (IN_CHINESE if chinese else IN_ENGLISH)), (), learned, judged
    )


def read_words(path: Path, layout: Layout, known: Known) -> list[Tagged]:
    """The sentences of a file. Raises InputError for a column that is none."""
    if ".conllu" in path.suffixes:
        return read_conllu(path, layout.label or "UPOS", known)
    numbers = [column(text) for text in (*layout.texts[:1], *([] if layout.label is None else [layout.label]))]
    if not all(isinstance(number, int) for number in numbers):
        raise InputError(
            f"--text and --label: {path} has no header; give the numbers of its columns, as in --label=-1."
        )
    word: Any = column(layout.texts[0]) if layout.texts else 0
    tag: Any = -1 if layout.label is None else column(layout.label)
    return read_conll(path, word, tag, known)


def named(folder: Path) -> str:
    """The name of a task that has none but its folder's."""
    return folder.resolve().name


def are_entities(labels: Sequence[str]) -> bool:
    """Whether tags are those of spans, as in O, B-person and I-person."""
    return "O" in labels and all(tag == "O" or tag[:2] in ("B-", "I-", "E-", "S-") for tag in labels)


def column(text: str) -> Column:
    """A column's number where the text is one, and else its name."""
    return int(text) if text.lstrip("-").isdecimal() and text.isascii() else text


def the_file(folder: Path, name: str | None, stem: str, suffixes: tuple[str, ...]) -> Path:
    """The file of a name, or the only one with `stem` in its name. Raises InputError where there is no such one."""
    if name is not None:
        return folder / name
    if not folder.is_dir():
        raise InputError(f"--data={folder}: is no folder; name the one of the task's files.")
    endings = (*suffixes, *(f"{suffix}.gz" for suffix in suffixes))
    found = sorted(path for path in folder.iterdir() if stem in path.name and path.name.endswith(endings))
    if len(found) != 1:
        there = f"{', '.join(path.name for path in found)} are" if found else "none of its files is"
        raise InputError(f"--data={folder}: {there} a {stem} set by name; say which one with --{stem}=FILE.")
    return found[0]
