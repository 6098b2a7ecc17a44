"""Answers in Chinese, judged as the script of CMRC 2018 does (Cui et al. 2019); DRCD is judged likewise.

A Chinese character is a word. What stands between is English: the script hands it to NLTK, whose rules are those of
the Penn Treebank. They are restated here as far as they reach what is left of an answer: in lower case, without the
punctuation that is dropped. NLTK also knows abbreviations, from a list that it has learned; here a period inside a
run is the word's own after one letter, or after another period inside the word ("u.s."), and else ends a sentence.
"""

import re
from collections.abc import Sequence

from finetuning.metrics.overlap import Overlap

DROPPED = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""The list of the script, but for its "……", which is two characters and so never equals one."""

CHINESE = "\u4e00-\u9fa5"
"""The range of the script: the ideographs of Unicode 1.1, all but the last few."""

TREEBANK = (
    (r"""(?:^|(?<=[ (\[{<]))(?:"|\'\')""", " `` "),  # an opening quote
    (r"(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", " ' "),
    (r"""(?<=[^.])\.(?=[])}>"'» ]*$)|(?<=[^\s.]{2})\.(?=[])}>"'»]*\s)""", " . "),  # the end of a sentence
    (r"\.{2,}|,(?!\d)|[;@#$%&?!()\[\]{}<>«»„‘\u2012-\u2015]", r" \g<0> "),
    (r"''|\"", " '' "),
    (r"(?<=[^' ])(?:'s|'m|'d|'ll|'re|'ve|n't|')(?!\S)", r" \g<0> "),
    (r"\b(?:can(?=not\b)|gim(?=me\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b)|wan(?=na\b))", r" \g<0> "),
)
"""What to write in place of what, one after the other, until spaces are between all words."""


def exact_zh(predicted: str, reference: str) -> float:
    """1 where both are the same in lower case without punctuation, or else 0; spaces count."""
    return float(_plain(predicted) == _plain(reference))


def run_f1(predicted: str, reference: str) -> float:
    """F1 where the longest run of words that both have is what they share; 0 where either is empty, or both are."""
    found, there = segmented(predicted), segmented(reference)
    return Overlap(longest_run(found, there), len(found), len(there)).f1


def segmented(text: str) -> list[str]:
    """The Chinese characters and the English words of a text, without punctuation that is dropped."""
    words = []
    for part in re.findall(f"[{CHINESE}]|[^{CHINESE}]+", _plain(text)):
        for pattern, replacement in TREEBANK:
            part = re.sub(pattern, replacement, part)
        words += part.split()
    return words


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of words in the longest run that stands in both."""
    longest, above = 0, [0] * (len(other) + 1)  # of runs that end at a word of `one` and before each place of `other`
    for word in one:
        above = [0, *(above[i] + 1 if word == each else 0 for i, each in enumerate(other))]
        longest = max(longest, *above)
    return longest


def _plain(text: str) -> str:
    return text.lower().strip().translate(DROPPED)
