"""What the plugin prints becomes log lines."""

from __future__ import annotations

import io
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

    from bulkhead_worker._native import Session


class LogStream(io.TextIOBase):
    """A text stream whose lines go to the log; its `buffer` is the real one."""

    def __init__(self, session: Session, real: TextIO, *, to_stderr: bool) -> None:
        """Capture in place of `real`."""
        self._session = session
        self._real = real
        self._to_stderr = to_stderr
        self.name = "<stderr>" if to_stderr else "<stdout>"
        self.mode = "w"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Say UTF-8, whatever the locale: log lines are UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Text that is not UTF-8 is logged with replacement characters."""
        return "replace"

    @property
    def buffer(self) -> BinaryIO:
        """The real stream, for bytes; the runner reads it too."""
        return self._real.buffer

    def write(self, text: str) -> int:
        """Log the lines that `text` completes."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._session.print(self._to_stderr, text)
        return len(text)

    def flush(self) -> None:
        """Flush the real stream; a line without an end waits for it, or for the end of the call."""
        self._real.flush()

    def close(self) -> None:
        """Stay open: other code prints too."""

    def fileno(self) -> int:
        """The real descriptor."""
        return self._real.fileno()

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def writable(self) -> bool:
        """Text can be written."""
        return True

    def reconfigure(self, **_options: object) -> None:
        """Accept what `TextIOWrapper` accepts; there is nothing to set."""


def install(session: Session) -> None:
    """Capture `sys.stdout` and `sys.stderr`."""
    if sys.__stdout__ is not None:
        sys.stdout = LogStream(session, sys.__stdout__, to_stderr=False)
    if sys.__stderr__ is not None:
        sys.stderr = LogStream(session, sys.__stderr__, to_stderr=True)


def uninstall() -> None:
    """Print to the real streams again."""
    if sys.__stdout__ is not None:
        sys.stdout = sys.__stdout__
    if sys.__stderr__ is not None:
        sys.stderr = sys.__stderr__
