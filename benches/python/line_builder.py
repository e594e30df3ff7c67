"""Line protocol, one part after the other, as the incumbent offers it: its methods, its checks, about its size.

The incumbent compiles and runs a source of about this length at every call of a plugin. This one was written for the
benches, so that what the worker ships can change without moving the baseline.
"""

from collections import OrderedDict
from typing import Optional


class InfluxDBError(Exception):
    """Base of the errors of line protocol."""


class InvalidMeasurementError(InfluxDBError):
    """The measurement cannot be written."""


class InvalidKeyError(InfluxDBError):
    """A tag or field has a key that cannot be written."""


class InvalidLineError(InfluxDBError):
    """The line is not complete."""


class LineBuilder:
    """One line of line protocol. Methods that add something return the builder."""

    def __init__(self, measurement: str):
        if " " in measurement:
            raise InvalidMeasurementError("Measurement name cannot contain spaces")
        self.measurement = measurement
        self.tags: OrderedDict[str, str] = OrderedDict()
        self.fields: OrderedDict[str, str] = OrderedDict()
        self._time_ns: Optional[int] = None

    def _check_key(self, key: str, kind: str) -> None:
        """Raise for a key that would break the line."""
        if not key:
            raise InvalidKeyError(f"{kind} key cannot be empty")
        if " " in key:
            raise InvalidKeyError(f"{kind} key '{key}' cannot contain spaces")
        if "," in key:
            raise InvalidKeyError(f"{kind} key '{key}' cannot contain commas")
        if "=" in key:
            raise InvalidKeyError(f"{kind} key '{key}' cannot contain equals signs")

    def tag(self, key: str, value: str) -> "LineBuilder":
        """Add a tag."""
        self._check_key(key, "tag")
        self.tags[key] = str(value)
        return self

    def uint64_field(self, key: str, value: int) -> "LineBuilder":
        """Add an unsigned integer field."""
        self._check_key(key, "field")
        if value < 0:
            raise ValueError(f"uint64 field '{key}' cannot be negative")
        self.fields[key] = f"{value}u"
        return self

    def int64_field(self, key: str, value: int) -> "LineBuilder":
        """Add an integer field."""
        self._check_key(key, "field")
        self.fields[key] = f"{value}i"
        return self

    def float64_field(self, key: str, value: float) -> "LineBuilder":
        """Add a float field; whole numbers keep their point."""
        self._check_key(key, "field")
        self.fields[key] = f"{int(value)}.0" if value % 1 == 0 else str(value)
        return self

    def string_field(self, key: str, value: str) -> "LineBuilder":
        """Add a string field."""
        self._check_key(key, "field")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        self.fields[key] = f'"{escaped}"'
        return self

    def bool_field(self, key: str, value: bool) -> "LineBuilder":
        """Add a boolean field."""
        self._check_key(key, "field")
        self.fields[key] = "t" if value else "f"
        return self

    def time_ns(self, timestamp_ns: int) -> "LineBuilder":
        """Set the time, in nanoseconds since the epoch."""
        self._time_ns = timestamp_ns
        return self

    def _escape(self, value: str) -> str:
        """Escape what separates the parts of a line."""
        return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")

    def build(self) -> str:
        """Return the line."""
        line = self.measurement.replace(",", "\\,").replace(" ", "\\ ")
        if self.tags:
            tags = ",".join(f"{key}={self._escape(value)}" for key, value in self.tags.items())
            line += f",{tags}"
        if not self.fields:
            raise InvalidLineError(f"At least one field is required: {line}")
        fields = ",".join(f"{self._escape(key)}={value}" for key, value in self.fields.items())
        line += f" {fields}"
        if self._time_ns is not None:
            line += f" {self._time_ns}"
        return line
