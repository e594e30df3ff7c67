"""Variables that the plugin looks for in its environment and does not find.

The runner knows which were granted, and tells the author how to grant the others. Many plugins ask with
`os.getenv` and go on without, so that no error would tell.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from bulkhead_worker._native import Session


def install(session: Session) -> None:
    """Watch `os.environ` from now on; it stays the object that it is."""
    watched = _Variables(session, os.environ._data)  # type: ignore[attr-defined]
    os.environ._data = watched  # type: ignore[attr-defined]
    os.environb._data = watched  # type: ignore[attr-defined]


class _Variables(dict[bytes, bytes]):
    """What `os.environ` looks into."""

    def __init__(self, session: Session, variables: dict[bytes, bytes]) -> None:
        super().__init__(variables)
        self._session = session
        self._told: set[bytes] = set()
        # Where `getenv` and `Mapping.get` are, and where everything is that is not the plugin's own code.
        self._between = {os.getenv.__code__.co_filename, type(os.environ).get.__code__.co_filename}
        self._not_its_own = (os.path.dirname(os.__file__), sys.prefix, "<frozen")

    def __missing__(self, key: bytes) -> NoReturn:
        is_new = key not in self._told and len(self._told) < self._session.VARIABLES_MISSING_MAX
        if is_new and self._plugin_asks(sys._getframe(1)):
            self._told.add(key)
            self._session.variable_missing(os.fsdecode(key))
        raise KeyError(key)

    def _plugin_asks(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code.co_filename in self._between:
            frame = frame.f_back
        # Libraries ask for much that they do not need.
        return frame is not None and not frame.f_code.co_filename.startswith(self._not_its_own)
