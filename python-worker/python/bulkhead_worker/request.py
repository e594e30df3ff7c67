"""What `process_request` is called with: dictionaries that also know repeated names."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    _Dict = dict[str, str]
    _Pairs = list[tuple[str, str]]
else:
    _Dict = dict


class MultiDict(_Dict):
    """A dictionary in which the last of repeated names counts, as in InfluxDB 3; `get_all` tells all of them."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: _Pairs) -> None:
        """Take the pairs as they came."""
        super().__init__(pairs)
        self._pairs = pairs

    def get_all(self, name: str) -> list[str]:
        """Return every value that came under this name, in order; none when it did not come."""
        return [value for key, value in self._pairs if key == name]

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[dict[str, str]]]:
        """Be copied and pickled as a plain dictionary."""
        return dict, (dict(self),)

    # A dictionary with these keys compares like any other, so it has no hash either.
    __hash__ = None


class RequestHeaders(MultiDict):
    """The headers, names in lower case, and the request's method."""

    __slots__ = ("method",)

    def __init__(self, pairs: _Pairs, method: str) -> None:
        """Take the pairs as they came."""
        super().__init__(pairs)
        self.method = method
