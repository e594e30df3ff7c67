"""Records of Python's `logging` become log lines.

`logging` and what it imports would be a third of the worker's start, so the handler is installed when
a plugin first imports it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from bulkhead_worker._native import Session

MODULE = "logging"


def install(session: Session) -> None:
    """Handle records from now on."""
    if MODULE in sys.modules:
        _install_handler(session)
    else:
        sys.meta_path.insert(0, _Finder(session))


def _install_handler(session: Session) -> None:
    from bulkhead_worker import log_handler

    log_handler.install(session)


class _Finder:
    """Finds `logging` once, as the other finders do, and adds the handler after its import."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader, self._session)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads with the real loader, and leaves no trace."""

    def __init__(self, real: Any, session: Session) -> None:
        self._real = real
        self._session = session

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        _install_handler(self._session)
