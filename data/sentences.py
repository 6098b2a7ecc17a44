"""Sentence boundaries in English and Chinese, for cutting a line into pieces that concatenate to it exactly."""

import re

_CLOSING = "\"'”’)\\]}»›」』】）〉》"
_BOUNDARY = re.compile(
    rf"[。！？][。！？…]*[{_CLOSING}]*"  # Chinese: no space follows
    rf"|……[{_CLOSING}]*"
    rf"|[.!?…]+[{_CLOSING}]*(?=\s)"
)
_NEXT = re.compile(r"\s+[\"'“‘(\[«‹「『]*(.)")
_ABBREVIATIONS = re.compile(
    r"(e\.g|i\.e|cf|vs|approx|resp|viz|incl|eds?|dept|messrs|mme|mlle|"
    r"mr|mrs|ms|dr|prof|st|rev|gen|col|capt|lt|sgt|hon|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(nos?|figs?|eqs?|secs?|ch|vol|pp?)", re.IGNORECASE)  # "No. 5", but "He said no. Then"
_LAST_WORD = re.compile(r"[^\s\"'“‘(\[«‹]*$")


def split_sentences(line: str) -> list[str]:
    """The sentences of a line; their concatenation is the line, the space between two belongs to the second.

    English sentences end at . ! ? before a space, unless a lower-case letter follows or an abbreviation or an initial
    precedes; Chinese ones at 。！？ and …… with the closing quotes and brackets that follow.
    """
    pieces, start = [], 0
    last = len(line.rstrip())  # what follows is only space, and stays with the last sentence
    for match in _BOUNDARY.finditer(line):
        end = match.end()
        if end < last and _ends_sentence(line, start, match):
            pieces.append(line[start:end])
            start = end
    return [*pieces, line[start:]] if line[start:] else pieces


def _ends_sentence(line: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] in "。！？" or mark.startswith("……"):
        return True
    following = _NEXT.match(line, match.end())
    if following is None or following.group(1).islower():
        return False
    if mark != ".":
        return True
    word = _LAST_WORD.findall(line, max(start, match.start() - 20), match.start())[0]
    if following.group(1).isdigit() and _NUMBERED.fullmatch(word):
        return False
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return not is_initial and _ABBREVIATIONS.fullmatch(word) is None
