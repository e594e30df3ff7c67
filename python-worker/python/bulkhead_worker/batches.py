"""Table batches: dictionaries whose rows are built when somebody looks at them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bulkhead_worker._native import ArrowRows

    _Dict = dict[str, Any]
else:
    _Dict = dict

ROWS = "rows"


class TableBatch(_Dict):
    """Rows of one table: the keys are `table_name` and `rows`."""

    __slots__ = ("_arrow", "_loaded")

    _arrow: ArrowRows
    _loaded: bool

    @property
    def arrow(self) -> ArrowRows:
        """The rows as they came, for libraries that would take the batch itself for a dictionary of columns."""
        return self._arrow

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Offer the rows as they came, without a copy, to whatever speaks Arrow's PyCapsule protocol."""
        return self._arrow.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Offer the names and types of the columns."""
        return self._arrow.__arrow_c_schema__()

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        """Be copied and pickled as a plain dictionary."""
        return dict, (dict(self),)

    # A dictionary with these keys compares like any other, so it has no hash either.
    __hash__ = None


class _LazyTableBatch(TableBatch):
    """A batch that holds a placeholder until its rows are asked for; then it becomes a `TableBatch`.

    `dict(batch)`, `{**batch}` and `json.dumps` read a dictionary's memory directly unless its class
    replaces `__iter__` or `items`, so everything that hands out values is replaced here.
    """

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        if key == ROWS:
            _load(self)
        # Not `super()`: the class may have changed.
        return dict.__getitem__(self, key)

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self)


def _load(batch: TableBatch) -> None:
    if batch._loaded:
        return
    rows = batch._arrow.rows()
    # While rows are built a signal handler may have asked for them too.
    if not batch._loaded:
        dict.__setitem__(batch, ROWS, rows)
        batch._loaded = True
        batch.__class__ = TableBatch


def _loading(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    def loaded(self: TableBatch, *args: Any, **options: Any) -> Any:
        _load(self)
        return method(self, *args, **options)

    loaded.__name__ = name
    return loaded


_LOADING_METHODS = (
    *("__delitem__", "__eq__", "__ior__", "__ne__", "__or__", "__repr__", "__ror__", "__setitem__"),
    *("clear", "copy", "get", "items", "pop", "popitem", "setdefault", "update", "values"),
)

for _name in _LOADING_METHODS:
    setattr(_LazyTableBatch, _name, _loading(_name))

_LazyTableBatch.__name__ = _LazyTableBatch.__qualname__ = TableBatch.__name__


def table_batch(table_name: str, arrow: ArrowRows) -> TableBatch:
    """Make a batch whose rows have not been decoded."""
    batch = _LazyTableBatch(table_name=table_name, rows=None)
    batch._arrow = arrow
    batch._loaded = False
    return batch
