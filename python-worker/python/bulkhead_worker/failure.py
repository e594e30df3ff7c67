"""How a failure is told to the plugin's author: in a line, and in a traceback of the plugin's own frames."""

from __future__ import annotations

import os.path

from bulkhead_worker._native import LimitExceeded
from bulkhead_worker.entry import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import TracebackException
    from typing import Final

EXCEPTION: Final = 1
"""`FAILURE_KIND_EXCEPTION`."""

LOAD: Final = 2
"""`FAILURE_KIND_LOAD`."""

LIMIT: Final = 5
"""`FAILURE_KIND_LIMIT`."""

RESPONSE: Final = 11
"""`FAILURE_KIND_RESPONSE`."""

_OWN_FILES: Final = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "<frozen importlib")
"""Beginnings of the file names of frames that are not the plugin's."""


def kind_of(error: BaseException, otherwise: int) -> int:
    """Return the kind of a failure; a limit is one wherever it is hit."""
    return LIMIT if isinstance(error, LimitExceeded) else otherwise


def message_of(error: BaseException) -> str:
    """Return type and text, as InfluxDB 3 does."""
    try:
        text = str(error)
    except Exception:
        text = "<exception str() failed>"
    if isinstance(error, (LoadError, LimitExceeded)):
        return text
    return f"{type(error).__qualname__}: {text}"


def traceback_of(error: BaseException, sources: dict[str, str]) -> str:
    """Return the traceback without our frames; `sources` are texts that may differ from the files by now."""
    if isinstance(error, LoadError):
        return error.where
    try:
        return _format(error, sources)
    except (Exception, RecursionError, MemoryError):
        # What went wrong is said in the message; there may be no room for more.
        return ""


def _format(error: BaseException, sources: dict[str, str]) -> str:
    import linecache
    import traceback

    for path, source in sources.items():
        linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    _strip(told)
    return "".join(told.format())


def _strip(first: TracebackException) -> None:
    """Remove our frames from an exception and all that belong to it."""
    waiting = [first]
    while waiting:
        told = waiting.pop()
        told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(_OWN_FILES)]
        if not told.stack:
            told.stack = None  # type: ignore[assignment,unused-ignore]
        related = (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ()))
        waiting.extend(other for other in related if other is not None)
