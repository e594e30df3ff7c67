"""`LineBuilder` in plain Python: the model that the native one is compared with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class InfluxDBError(Exception):
    """Base of the errors of line protocol."""


class InvalidMeasurementError(InfluxDBError):
    """The measurement cannot be written."""


class InvalidKeyError(InfluxDBError):
    """A tag or field has a key that cannot be written."""


class InvalidLineError(InfluxDBError):
    """The line is not complete."""


_FORBIDDEN_IN_KEYS: Final = ((" ", "spaces"), (",", "commas"), ("=", "equals signs"))

_LINE_ENDS: Final = {"\n": "\\n", "\r": "\\r"}
"""Where InfluxDB 3 would cut the line in two."""

_ESCAPED: Final = str.maketrans({"\\": "\\\\", ",": "\\,", "=": "\\=", " ": "\\ ", **_LINE_ENDS})

_ESCAPED_TAG_KEY: Final = str.maketrans(_LINE_ENDS)

_ESCAPED_MEASUREMENT: Final = str.maketrans({",": "\\,", " ": "\\ ", **_LINE_ENDS})


def _check_key(kind: str, key: str) -> None:
    if not key:
        raise InvalidKeyError(f"{kind} key cannot be empty")
    for character, plural in _FORBIDDEN_IN_KEYS:
        if character in key:
            raise InvalidKeyError(f"{kind} key '{key}' cannot contain {plural}")


class LineBuilder:
    """One line of line protocol. Methods that add something return the builder."""

    def __init__(self, measurement: str) -> None:
        """Begin a line of a table."""
        if " " in measurement:
            raise InvalidMeasurementError("Measurement name cannot contain spaces")
        self.measurement = measurement
        self.tags: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self._timestamp_ns: int | None = None

    def tag(self, key: str, value: str) -> LineBuilder:
        """Add a tag."""
        _check_key("tag", key)
        self.tags[key] = str(value)
        return self

    def uint64_field(self, key: str, value: int) -> LineBuilder:
        """Add an unsigned integer field."""
        _check_key("field", key)
        if value < 0:
            raise ValueError(f"uint64 field '{key}' cannot be negative")
        self.fields[key] = f"{value}u"
        return self

    def int64_field(self, key: str, value: int) -> LineBuilder:
        """Add an integer field."""
        _check_key("field", key)
        self.fields[key] = f"{value}i"
        return self

    def float64_field(self, key: str, value: float) -> LineBuilder:
        """Add a float field."""
        _check_key("field", key)
        # Whole numbers are written out: line protocol knows 1.0, but `str` may say 1e+20.
        self.fields[key] = f"{int(value)}.0" if value % 1 == 0 else str(value)
        return self

    def string_field(self, key: str, value: str) -> LineBuilder:
        """Add a string field."""
        _check_key("field", key)
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        self.fields[key] = f'"{escaped}"'
        return self

    def bool_field(self, key: str, value: bool) -> LineBuilder:
        """Add a boolean field."""
        _check_key("field", key)
        self.fields[key] = "t" if value else "f"
        return self

    def time_ns(self, timestamp_ns: int) -> LineBuilder:
        """Set the time, in nanoseconds since the epoch."""
        self._timestamp_ns = timestamp_ns
        return self

    def build(self) -> str:
        """Return the line."""
        line = self.measurement.translate(_ESCAPED_MEASUREMENT)
        for key, value in self.tags.items():
            line += f",{key.translate(_ESCAPED_TAG_KEY)}={value.translate(_ESCAPED)}"
        if not self.fields:
            raise InvalidLineError(f"At least one field is required: {line}")
        fields = ",".join(f"{key.translate(_ESCAPED)}={value}" for key, value in self.fields.items())
        time = "" if self._timestamp_ns is None else f" {self._timestamp_ns}"
        return f"{line} {fields}{time}"
