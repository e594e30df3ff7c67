"""Whether a plugin can be used, told from its text alone: nothing of it is executed."""

from __future__ import annotations

import os.path

from bulkhead_worker.directory import python_files
from bulkhead_worker.entry import LoadError, check_source, defined_entry_points

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ast import AST
    from typing import Final

_ONLY_AST: Final = 0x400
"""`ast.PyCF_ONLY_AST`."""

_FILES_MAX: Final = 1000
"""Files of a directory that are looked at; more than this is data that happens to be Python."""

_SPECS: Final = {
    "process_writes": "`table:<TABLE_NAME>` or `all_tables`",
    "process_scheduled_call": "`every:<DURATION>` or `cron:<CRON_EXPRESSION>`",
    "process_request": "`request:<PATH>`",
}


def check(path: str, entry_point: str) -> str | None:
    """Return what is wrong with the plugin, for its author: file, line, the line itself, and what to do."""
    root = os.path.dirname(path)
    is_directory = os.path.isdir(path)
    main_file = os.path.join(path, "__init__.py") if is_directory else path
    files = sorted(python_files(path))[:_FILES_MAX] if is_directory else []
    for file in [main_file, *(file for file in files if file != main_file)]:
        shown = os.path.relpath(file, root)
        try:
            tree = _parse(file, shown)
            if file == main_file:
                _check_entry_point(tree, entry_point, shown)
        except _Problem as problem:
            return str(problem)
    return None


class _Problem(Exception):
    """The text is what the author reads."""


def _parse(file: str, shown: str) -> AST:
    source = b""
    try:
        with open(file, "rb") as opened:
            source = opened.read()
        # Code that parses may still not compile, such as a `return` outside of a function.
        compile(source, shown, "exec", dont_inherit=True)
        tree: AST = compile(source, shown, "exec", _ONLY_AST, True)
    except SyntaxError as error:
        raise _Problem(_describe(error, shown, source)) from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _Problem(f"{shown}: {type(error).__name__}: {error}") from None
    return tree


def _describe(error: SyntaxError, shown: str, source: bytes) -> str:
    where = shown if error.lineno is None else f"{shown}, line {error.lineno}"
    text = f"{where}: {type(error).__name__}: {error.msg}"
    line = (error.text or _line(source, error.lineno)).rstrip()
    if not line:
        return text
    told = f"{text}\n    {line.lstrip()}"
    if error.offset is None:
        return told
    indent = len(line) - len(line.lstrip())
    return f"{told}\n    {' ' * max(error.offset - 1 - indent, 0)}^"


def _line(source: bytes, number: int | None) -> str:
    """Return a line of the source; what finds faults after parsing does not tell it."""
    lines = source.decode(errors="replace").splitlines()
    return lines[number - 1] if number is not None and 0 < number <= len(lines) else ""


def _check_entry_point(tree: AST, entry_point: str, shown: str) -> None:
    try:
        check_source(tree, entry_point, shown)
    except LoadError as error:
        where = shown if error.line is None else f"{shown}, line {error.line}"
        text = f"{where}: {error}"
        if error.line is not None:
            hint = "remove `async`; coroutines can be run inside of the function with `asyncio.run`"
        else:
            others = [name for name in defined_entry_points(tree) if name != entry_point]
            if not others:
                raise _Problem(text) from None
            hint = f"the file defines {others[0]}, which belongs to the specification {_SPECS[others[0]]}"
        raise _Problem(f"{text}\nhint: {hint}") from None
