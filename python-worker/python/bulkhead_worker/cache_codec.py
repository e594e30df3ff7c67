"""Cache values as bytes: pickles for a trigger's own namespace, plain data for the one that all triggers share.

A pickle can run code when it is loaded, so it is loaded only by the trigger that wrote it. What other triggers read is
decoded here, and nothing in it can name a class.
"""

from __future__ import annotations

import sys
from _pickle import Pickler, Unpickler
from io import BytesIO
from types import FunctionType

from bulkhead_worker.batches import TableBatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

PROTOCOL: Final = 5

_DIRECTORY_PREFIX: Final = "_bulkhead_plugin_"
"""Beginning of the module names of a plugin of several files; a number follows, another one for each version."""

_INT_BITS_MAX: Final = 64
"""Longer integers are written in hexadecimal, which has no limit on digits."""


def dump(value: Any) -> bytes:
    """Pickle a value."""
    file = BytesIO()
    _Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def load(data: bytes) -> Any:
    """Load a pickle that this trigger wrote."""
    return _Unpickler(BytesIO(data)).load()


class _Pickler(Pickler):
    """Writes classes and functions of the plugin by name also when they belong to an earlier call or version of it."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, (type, FunctionType)):
            return NotImplemented
        try:
            module = _current_name(value.__module__)
            now = _resolve(module, value.__qualname__)
        except (AttributeError, KeyError, TypeError):
            # Pickle says itself what cannot be found.
            return NotImplemented
        if now is value or type(now) is not type(value):
            return NotImplemented
        return _resolve, (module, value.__qualname__)


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(_current_name(module), name)


def _resolve(module: str, qualified_name: str) -> Any:
    found: Any = sys.modules[_current_name(module)]
    for name in qualified_name.split("."):
        found = getattr(found, name)
    return found


def _current_name(module: str) -> str:
    """Return the name that a module of the plugin has now."""
    if module in sys.modules or not module.startswith(_DIRECTORY_PREFIX):
        return module
    rest = _without_number(module)
    loaded = [
        name for name in list(sys.modules) if name.startswith(_DIRECTORY_PREFIX) and _without_number(name) == rest
    ]
    return loaded[-1] if loaded else module


def _without_number(module: str) -> str:
    return module[len(_DIRECTORY_PREFIX) :].partition("_")[2]


def encode(value: Any) -> bytes:
    """Encode plain data; raise `TypeError` for anything else."""
    from json import dumps

    try:
        return dumps(_plain(value), check_circular=False, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError("the value is nested too deeply for the global cache, or contains itself") from None


def decode(data: bytes) -> Any:
    """Decode what `encode` made, or raise."""
    from json import loads

    return _restored(loads(data))


def _plain(value: Any) -> Any:
    """Return a form of the value that JSON has; an object with one name stands for what JSON has not."""
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if value.bit_length() < _INT_BITS_MAX else {"int": hex(value)}
    if kind is list:
        return [_plain(item) for item in value]
    if kind is dict or isinstance(value, TableBatch):
        return {"dict": [[_plain(key), _plain(item)] for key, item in value.items()]}
    encoder = _ENCODERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if encoder is None:
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        raise TypeError(
            f"the global cache takes plain data only, not '{name}': None, bool, int, float, str, bytes, list, tuple, "
            "dict, set, frozenset, date, time, datetime, timedelta, Decimal and UUID"
        )
    return encoder(value)


def _items(name: str) -> Callable[[Any], Any]:
    return lambda value: {name: [_plain(item) for item in value]}


def _text(name: str) -> Callable[[Any], Any]:
    return lambda value: {name: str(value)}


def _bytes(value: bytes) -> Any:
    from binascii import b2a_base64

    return {"bytes": b2a_base64(value, newline=False).decode()}


def _moment(name: str) -> Callable[[Any], Any]:
    """Encode a time with its zone; one of the zone database keeps its name."""

    def encoded(value: Any) -> Any:
        zone = value.tzinfo
        key = getattr(zone, "key", None)
        if zone is None or type(zone).__module__ == "datetime":
            key = None
        elif key is None:
            raise TypeError(f"the global cache takes no time zone of the type '{type(zone).__qualname__}'")
        naive = value if key is None else value.replace(tzinfo=None)
        return {name: [naive.isoformat(), key, value.fold]}

    return encoded


def _timedelta(value: Any) -> Any:
    return {"timedelta": [value.days, value.seconds, value.microseconds]}


_ENCODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "builtins.tuple": _items("tuple"),
    "builtins.set": _items("set"),
    "builtins.frozenset": _items("frozenset"),
    "builtins.bytes": _bytes,
    "datetime.date": lambda value: {"date": value.isoformat()},
    "datetime.time": _moment("time"),
    "datetime.datetime": _moment("datetime"),
    "datetime.timedelta": _timedelta,
    "decimal.Decimal": _text("decimal"),
    "uuid.UUID": _text("uuid"),
}


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    return _DECODERS[name](content)


def _restored_moment(name: str) -> Callable[[Any], Any]:
    def decoded(content: Any) -> Any:
        import datetime

        text, key, fold = content
        value = getattr(datetime, name).fromisoformat(text).replace(fold=fold)
        if key is not None:
            from zoneinfo import ZoneInfo

            value = value.replace(tzinfo=ZoneInfo(key))
        return value

    return decoded


def _restored_date(content: str) -> Any:
    from datetime import date

    return date.fromisoformat(content)


def _restored_timedelta(content: list[int]) -> Any:
    from datetime import timedelta

    return timedelta(*content)


def _restored_decimal(content: str) -> Any:
    from decimal import Decimal

    return Decimal(content)


def _restored_uuid(content: str) -> Any:
    from uuid import UUID

    return UUID(content)


def _restored_bytes(content: str) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(content)


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "int": lambda content: int(content, 16),
    "dict": lambda content: {_restored(key): _restored(item) for key, item in content},
    "tuple": lambda content: tuple(map(_restored, content)),
    "set": lambda content: set(map(_restored, content)),
    "frozenset": lambda content: frozenset(map(_restored, content)),
    "bytes": _restored_bytes,
    "date": _restored_date,
    "time": _restored_moment("time"),
    "datetime": _restored_moment("datetime"),
    "timedelta": _restored_timedelta,
    "decimal": _restored_decimal,
    "uuid": _restored_uuid,
}
