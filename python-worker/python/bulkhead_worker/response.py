"""What `process_request` may return, and the HTTP response that it stands for."""

from __future__ import annotations

from bulkhead_worker._native import LimitExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from bulkhead_worker._native import Call

    Headers = list[tuple[str, str]]
    Response = tuple[int, Headers, bytes | Iterator[Any]]

HTML: Final = "text/html"
JSON: Final = "application/json"
PLAIN: Final = "text/plain"
BYTES: Final = "application/octet-stream"

_STATUS_OK: Final = 200
_STATUS_INVALID: Final = 500
_STATUS_RANGE: Final = range(100, 600)

_HEADER_NAME: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NOT_IN_HEADER_VALUE: Final = frozenset(map(chr, range(32))) - {"\t"} | {"\x7f"}

_BINARY: Final = (bytes, bytearray, memoryview)

_TUPLE_FORMS: Final = (2, 3)
"""Lengths of the tuples that mean body, status and headers; others are joined like any iterable."""


_PAIR: Final = 2


class ResponseError(Exception):
    """The value is not a response; the text is the whole message."""


def make_response(value: Any, body_bytes_max: int) -> Response:
    """Read what the plugin returned, as status, headers and body; the body of an iterator has yet to be run."""
    is_response = getattr(type(value), "__flask_response__", None)
    if is_response is not None and value.__flask_response__() is True:
        return _finish(value.get_data(), None, value.status_code, value.headers, body_bytes_max)
    if isinstance(value, tuple) and len(value) in _TUPLE_FORMS:
        return _from_tuple(value, body_bytes_max)
    body, content_type = _body(value, body_bytes_max)
    return _finish(body, content_type, _STATUS_OK, {}, body_bytes_max)


def stream(call: Call, status: int, headers: Headers, items: Iterator[Any]) -> None:
    """Send what an iterator yields as it yields it. Up to the first bytes a failure still has a status of its own."""
    has_begun = False
    try:
        for item in items:
            data = _item(item)
            if not data:
                continue
            if not has_begun:
                call.begin_response(status, headers)
                has_begun = True
            call.send_body(data)
    except BaseException:
        # A generator that was interrupted from outside may hold files and locks.
        close = getattr(items, "close", None)
        if close is not None:
            close()
        raise
    if not has_begun:
        call.respond(status, headers, b"")


def _from_tuple(value: tuple[Any, ...], body_bytes_max: int) -> Response:
    first, second, *rest = value
    status: int = _STATUS_OK
    headers: Any = {}
    if isinstance(second, int):
        status = second
    elif isinstance(second, dict) or _is_pairs(second):
        headers = second
    if rest:
        headers = rest[0]
        if not isinstance(headers, dict) and not _is_pairs(headers):
            raise ResponseError("expected a dictionary in header item")
    if isinstance(first, (str, dict, list, *_BINARY)) or hasattr(type(first), "__next__"):
        body, content_type = _body(first, body_bytes_max)
    else:
        body, content_type = str(first), PLAIN
    return _finish(body, content_type, status, headers, body_bytes_max)


def _is_pairs(headers: Any) -> bool:
    """Tell whether these are headers as a list of names and values, in which names may repeat."""
    return isinstance(headers, list) and all(isinstance(pair, tuple) and len(pair) == _PAIR for pair in headers)


def _body(value: Any, body_bytes_max: int) -> tuple[Any, str]:
    if isinstance(value, str):
        return value, HTML
    if isinstance(value, (dict, list)):
        return _json(value), JSON
    if isinstance(value, _BINARY):
        return value, BYTES
    if hasattr(type(value), "__next__"):
        return value, HTML
    try:
        items = iter(value)
    except TypeError:
        _close(value)
        raise ResponseError("Unsupported return type from Python function") from None
    return _join(items, body_bytes_max), HTML


def _json(value: Any) -> str:
    from json import dumps

    try:
        return dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResponseError(f"{type(error).__name__}: {error}") from None


def _join(items: Any, body_bytes_max: int) -> bytes:
    body = bytearray()
    for item in items:
        body += _item(item)
        _check_size(len(body), body_bytes_max)
    return bytes(body)


def _item(item: Any) -> bytes:
    """Return text and bytes as bytes; other items are passed over, as InfluxDB 3 does."""
    if isinstance(item, str):
        return item.encode(errors="replace")
    return bytes(item) if isinstance(item, _BINARY) else b""


def _close(value: Any) -> None:
    """Close the coroutine of an `async def`, which would warn that nobody awaited it."""
    if type(value).__name__ == "coroutine":
        value.close()


def _finish(body: Any, content_type: str | None, status: Any, headers: Any, body_bytes_max: int) -> Response:
    pairs = _header_pairs(headers)
    if content_type is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", content_type))
    status = status if status in _STATUS_RANGE else _STATUS_INVALID
    if hasattr(type(body), "__next__"):
        return status, pairs, body
    data = body.encode(errors="replace") if isinstance(body, str) else bytes(body)
    _check_size(len(data), body_bytes_max)
    return status, pairs, data


def _header_pairs(headers: Any) -> Headers:
    """Return names and values; a list of values stands for one header each."""
    pairs: Headers = []
    for name, value in headers if isinstance(headers, list) else headers.items():
        values = value if isinstance(value, (list, tuple)) else (value,)
        pairs.extend((_header_name(name), _header_value(name, text)) for text in values)
    return pairs


def _check_size(size: int, body_bytes_max: int) -> None:
    if size > body_bytes_max:
        raise LimitExceeded(f"response_bytes_max of {body_bytes_max} bytes exceeded: {size} bytes asked for")


def _header_name(name: Any) -> str:
    text = _text(name)
    if not text or not _HEADER_NAME.issuperset(text):
        raise ResponseError(f"invalid header name {text!r}")
    return text


def _header_value(name: str, value: Any) -> str:
    text = _text(value)
    if not _NOT_IN_HEADER_VALUE.isdisjoint(text):
        raise ResponseError(f"the value of header {name!r} contains a line break or another control character")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ResponseError(f"TypeError: '{type(value).__name__}' object is not an instance of 'str'")
    return value
