"""What `process_request` may return, and the HTTP response that it stands for."""

from __future__ import annotations

from bulkhead_worker._native import LimitExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Response = tuple[int, list[tuple[str, str]], bytes]

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


class ResponseError(Exception):
    """The value is not a response; the text is the whole message."""


def make_response(value: Any, body_bytes_max: int) -> Response:
    """Read what the plugin returned, as status, headers and body."""
    is_response = getattr(type(value), "__flask_response__", None)
    if is_response is not None and value.__flask_response__() is True:
        return _finish(value.get_data(), None, value.status_code, value.headers, body_bytes_max)
    if isinstance(value, tuple) and len(value) in _TUPLE_FORMS:
        return _from_tuple(value, body_bytes_max)
    body, content_type = _body(value, body_bytes_max)
    return _finish(body, content_type, _STATUS_OK, {}, body_bytes_max)


def _from_tuple(value: tuple[Any, ...], body_bytes_max: int) -> Response:
    first, second, *rest = value
    status, headers = _STATUS_OK, {}
    if isinstance(second, int):
        status = second
    elif isinstance(second, dict):
        headers = second
    if rest:
        headers = rest[0]
        if not isinstance(headers, dict):
            raise ResponseError("expected a dictionary in header item")
    if isinstance(first, (str, dict, list, *_BINARY)):
        body, content_type = _body(first, body_bytes_max)
    else:
        body, content_type = str(first), PLAIN
    return _finish(body, content_type, status, headers, body_bytes_max)


def _body(value: Any, body_bytes_max: int) -> tuple[Any, str]:
    if isinstance(value, str):
        return value, HTML
    if isinstance(value, (dict, list)):
        return _json(value), JSON
    if isinstance(value, _BINARY):
        return value, BYTES
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
    """Join text and bytes; other items are passed over, as InfluxDB 3 does."""
    body = bytearray()
    for item in items:
        if isinstance(item, str):
            body += item.encode(errors="replace")
        elif isinstance(item, _BINARY):
            body += item
        _check_size(len(body), body_bytes_max)
    return bytes(body)


def _close(value: Any) -> None:
    """Close the coroutine of an `async def`, which would warn that nobody awaited it."""
    if type(value).__name__ == "coroutine":
        value.close()


def _finish(body: Any, content_type: str | None, status: Any, headers: Any, body_bytes_max: int) -> Response:
    pairs = [(_header_name(name), _header_value(name, text)) for name, text in headers.items()]
    if content_type is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", content_type))
    data = body.encode(errors="replace") if isinstance(body, str) else bytes(body)
    _check_size(len(data), body_bytes_max)
    return status if status in _STATUS_RANGE else _STATUS_INVALID, pairs, data


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
