"""A disk that refuses what is written, as a full one does: one sentence, whoever wrote."""

import contextlib
import re
from collections.abc import Callable, Iterator

from batch import InputError

_REFUSED = re.compile(r"([^:\s][^:]*) \[os_error_code=")
"""How TensorStore, in a ValueError, says why the operating system refused a file."""


@contextlib.contextmanager
def writing(sentence: Callable[[str], str]) -> Iterator[None]:
    """Raises, for what the disk refuses within the block, an InputError that begins with the sentence of the reason."""
    try:
        yield
    except (OSError, ValueError) as error:
        found = _REFUSED.search(str(error))
        if found is None and not isinstance(error, OSError):
            raise
        reason = found[1] if found else str(getattr(error, "strerror", None) or error)
        raise InputError(f"{sentence(reason)}; make room on the disk, and run the same command again.") from error
