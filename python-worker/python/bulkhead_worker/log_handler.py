"""The root handler of `logging`. Importing this module imports `logging`."""

import logging
from typing import Any

from bulkhead_worker._native import Session

_LEVELS = ((logging.ERROR, 4), (logging.WARNING, 3), (logging.INFO, 2))
"""Lowest level of `logging`, and the `LogLevel` of the wire."""

_DEBUG = 1


class SessionHandler(logging.Handler):
    """Hands records to the session."""

    def __init__(self, session: Session) -> None:
        """Handle every level; loggers decide what they let through."""
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, with its exception if it has one."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        level = next((level for least, level in _LEVELS if record.levelno >= least), _DEBUG)
        self._session.log(level, text)


def install(session: Session) -> None:
    """Add the handler to the root logger, such that `basicConfig` still does what a plugin expects."""
    root = logging.getLogger()
    handler = SessionHandler(session)
    root.addHandler(handler)
    configure = logging.basicConfig

    def basic_config(**options: Any) -> None:
        """As `logging.basicConfig`, but the log stands in for a stream that was not chosen."""
        chosen = {"filename", "stream", "handlers", "force"} & options.keys()
        if chosen or root.handlers != [handler]:
            configure(**options)
            return
        if options.get("format") is not None or options.get("datefmt") is not None:
            style = options.get("style", "%")
            handler.setFormatter(logging.Formatter(options.get("format"), options.get("datefmt"), style))
        if options.get("level") is not None:
            root.setLevel(options["level"])

    logging.basicConfig = basic_config
