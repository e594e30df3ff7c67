"""Entry points: how they should look, and whether a plugin has one."""

from __future__ import annotations

from _ast import (  # the C module
    AST,
    AsyncFunctionDef,
    ClassDef,
    FunctionDef,
    Import,
    ImportFrom,
    Lambda,
    Name,
    Store,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    EntryPoint = Callable[..., Any]

SIGNATURES: Final = {
    "process_writes": "process_writes(influxdb3_local, table_batches, args=None)",
    "process_scheduled_call": "process_scheduled_call(influxdb3_local, call_time, args=None)",
    "process_request": "process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None)"
    " -> Tuple[str, Optional[Dict[str, str]]]",
}
"""The functions that triggers call, as a plugin's author should define them."""

_CO_COROUTINE: Final = 0x80

_DYNAMIC_NAMES: Final = {"exec", "globals", "locals", "vars", "setattr"}
"""Functions by which a name may come to be that no statement shows."""


class LoadError(Exception):
    """The plugin does not load; the text is the whole message."""

    def __init__(self, message: str, where: str = "", line: int | None = None) -> None:
        """Say what is wrong, and where."""
        super().__init__(message)
        self.where = where
        self.line = line


def check_source(tree: AST, name: str, path: str) -> None:
    """Raise unless the module may define the function. In doubt it may."""
    doubt = False
    for node in _module_level(tree):
        if isinstance(node, AsyncFunctionDef) and node.name == name:
            raise LoadError(async_message(name), f'  File "{path}", line {node.lineno}', node.lineno)
        if name in _bound_names(node):
            return
        doubt = doubt or _may_bind_anything(node)
    if not doubt:
        raise LoadError(missing_message(name), f'  File "{path}"')


def defined_entry_points(tree: AST) -> list[str]:
    """Return the entry points that the module defines."""
    bound = {name for node in _module_level(tree) for name in _bound_names(node)}
    return [name for name in SIGNATURES if name in bound]


def find(namespace: dict[str, Any], name: str, path: str) -> EntryPoint:
    """Return the function, or raise."""
    function = namespace.get(name)
    if function is None:
        raise LoadError(missing_message(name), f'  File "{path}"')
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        raise LoadError(async_message(name), f'  File "{path}", line {code.co_firstlineno}')
    if not callable(function):
        raise LoadError(f"{name} is not a function but {type(function).__name__!r}", f'  File "{path}"')
    return function  # type: ignore[no-any-return]


def missing_message(name: str) -> str:
    """Tell that there is no such function; the text is InfluxDB 3's."""
    return f"the {name} function is not present in the plugin. Should be defined as: {SIGNATURES[name]}"


def async_message(name: str) -> str:
    """Tell that the function cannot be called as it is."""
    return f"the {name} function is an `async def`, which is not supported. Should be defined as: {SIGNATURES[name]}"


def _children(node: AST) -> Iterator[AST]:
    for field in node._fields:
        value = getattr(node, field, None)
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, AST):
                yield item


def _module_level(tree: AST) -> Iterator[AST]:
    """Walk every node that runs when the module is executed."""
    waiting = list(_children(tree))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (FunctionDef, AsyncFunctionDef, ClassDef, Lambda)):
            waiting.extend(_children(node))


def _bound_names(node: AST) -> Iterator[str]:
    if isinstance(node, (FunctionDef, ClassDef)):
        yield node.name
    elif isinstance(node, (Import, ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, Name) and isinstance(node.ctx, Store):
        yield node.id


def _may_bind_anything(node: AST) -> bool:
    if isinstance(node, ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    return isinstance(node, Name) and node.id in _DYNAMIC_NAMES
