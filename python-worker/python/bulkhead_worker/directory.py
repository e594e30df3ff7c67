"""Plugins of several files: imported once for each version of their files."""

from __future__ import annotations

import os
import sys
from itertools import count

from bulkhead_worker.entry import LoadError, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Final

    from bulkhead_worker.entry import EntryPoint

_VERSIONS: Final = count(1)

_Stamp = tuple[int, int]


class Directory:
    """A package under a private name, so that no other package of its name gets in the way."""

    def __init__(self, path: str, entry_point: str) -> None:
        """Nothing is imported yet."""
        self._path = path
        self._entry_point = entry_point
        self._module: ModuleType | None = None
        self._stamps: dict[str, _Stamp] = {}

    def check(self) -> None:
        """Import the package and look for the function."""
        self.function()

    def function(self, *, keep: bool = False) -> EntryPoint:
        """Return the function, after an import if a file has changed; as it was imported before with `keep`."""
        stamps = {} if keep and self._module is not None else _stamps_of(self._path)
        if self._module is None or (stamps and stamps != self._stamps):
            module = self._import()
            self._forget()
            self._module, self._stamps = module, stamps
        return find(self._module.__dict__, self._entry_point, self._init)

    def sources(self) -> dict[str, str]:
        """Return nothing: tracebacks read the files."""
        return {}

    @property
    def _init(self) -> str:
        return os.path.join(self._path, "__init__.py")

    def _import(self) -> ModuleType:
        from importlib import invalidate_caches
        from importlib.util import module_from_spec, spec_from_file_location

        base = os.path.basename(os.path.normpath(self._path))
        name = f"_bulkhead_plugin_{next(_VERSIONS)}_{base}"
        spec = spec_from_file_location(name, self._init, submodule_search_locations=[self._path])
        if spec is None or spec.loader is None or not os.path.isfile(self._init):
            raise LoadError(f"Multi-file plugin directory must contain __init__.py: {self._path}")
        module = module_from_spec(spec)
        # Files that came since the last import have to be seen.
        invalidate_caches()
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            _remove(name)
            raise
        return module

    def _forget(self) -> None:
        if self._module is not None:
            _remove(self._module.__name__)


def _remove(name: str) -> None:
    for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[loaded]


def python_files(path: str) -> list[str]:
    """Return every Python file below `path`."""
    return list(_stamps_of(path))


def _stamps_of(path: str) -> dict[str, _Stamp]:
    """Return time and size of every Python file below `path`; nothing if it is gone."""
    stamps: dict[str, _Stamp] = {}
    waiting = [path]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            # A virtual environment is large, and not the plugin's own code.
            continue
        for entry in entries:
            if entry.name.endswith(".py"):
                _add_stamp(stamps, entry)
            elif entry.name != "__pycache__" and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return stamps


def _add_stamp(stamps: dict[str, _Stamp], entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat()
    except OSError:
        return
    stamps[entry.path] = (status.st_mtime_ns, status.st_size)
