"""Plugins of one file: compiled when the file changes, executed at every call."""

from __future__ import annotations

import builtins
import os
import sys
from types import CodeType, ModuleType

from bulkhead_worker.entry import LoadError, check_source, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from bulkhead_worker.entry import EntryPoint

_ONLY_AST: Final = 0x400
"""`ast.PyCF_ONLY_AST`."""

_Stamp = tuple[int, int, int]


class SingleFile:
    """A plugin whose globals are new at every call, as in InfluxDB 3."""

    def __init__(self, path: str, entry_point: str) -> None:
        """Nothing is read yet."""
        self._path = path
        self._entry_point = entry_point
        self._name = _module_name(path)
        self._stamp: _Stamp | None = None
        self._code: CodeType | None = None
        self._source = b""

    def check(self) -> None:
        """Raise if the file does not compile or cannot define the function. It is not executed."""
        self._compiled()
        tree = compile(self._source, self._path, "exec", _ONLY_AST, True)
        check_source(tree, self._entry_point, self._path)

    def function(self, *, keep: bool = False) -> EntryPoint:
        """Execute the file in a new module and return its function; as it was loaded before with `keep`."""
        code = self._code if keep and self._code is not None else self._compiled()
        module = ModuleType(self._name)
        namespace = module.__dict__
        namespace["__builtins__"] = builtins
        # Data classes and `pickle` look a class's module up by its name.
        sys.modules[self._name] = module
        exec(code, namespace)
        return find(namespace, self._entry_point, self._path)

    def sources(self) -> dict[str, str]:
        """Return the source that was compiled."""
        return {self._path: self._source.decode(errors="replace")}

    def _compiled(self) -> CodeType:
        stamp = _stamp_of(self._path)
        if stamp is None or stamp == self._stamp:
            # A file that is gone keeps its last code.
            if self._code is None:
                raise LoadError(f"reading plugin file: Plugin not found: {self._path}")
            return self._code
        with open(self._path, "rb") as file:
            self._source = file.read()
        self._code = None
        self._stamp = None
        self._code = compile(self._source, self._path, "exec", dont_inherit=True)
        self._stamp = stamp
        return self._code


def _stamp_of(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _module_name(path: str) -> str:
    """Return the file's stem, unless an import of that name means something else."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return f"{stem}_plugin" if _is_importable(stem) else stem


def _is_importable(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return any(finder.find_spec(name, None) is not None for finder in sys.meta_path)
    except Exception:
        # A broken package of that name is still what an import would find.
        return True
