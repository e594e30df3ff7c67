"""Orders of the runner: load the plugin, call it, and say how that ended."""

from __future__ import annotations

from bulkhead_worker.batches import table_batch
from bulkhead_worker.entry import LoadError
from bulkhead_worker.failure import EXCEPTION, LOAD, RESPONSE, kind_of, message_of, traceback_of
from bulkhead_worker.plugin import find_plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from bulkhead_worker._native import Call, Trigger
    from bulkhead_worker.entry import EntryPoint
    from bulkhead_worker.plugin import Plugin

    Arguments = dict[str, str] | None


class Handlers:
    """The plugin of this worker and its trigger."""

    def __init__(self) -> None:
        """No trigger yet."""
        self._trigger: Trigger | None = None
        self._plugin: Plugin | None = None

    def load(self, trigger: Trigger) -> tuple[str, str] | None:
        """Load the plugin; return message and traceback if that fails."""
        self._trigger, self._plugin = trigger, None
        if trigger.check_only:
            from bulkhead_worker.check import check

            problem = check(trigger.path, trigger.entry_point)
            return None if problem is None else (problem, "")
        try:
            if trigger.entry_point not in _CALLS:
                raise LoadError("the runner named no entry point")
            self._plugin = find_plugin(trigger.path, trigger.entry_point)
            self._plugin.check()
        except BaseException as error:
            return message_of(error), traceback_of(error, self._sources())
        return None

    def call(self, call: Call) -> None:
        """Call the plugin. What it raises is reported and goes no further."""
        try:
            function = self._function(keep=call.keeps_code)
        except BaseException as error:
            self._fail(call, error, LOAD)
            return
        try:
            assert self._trigger is not None
            _CALLS[self._trigger.entry_point](function, call, self._trigger.arguments)
        except BaseException as error:
            self._fail(call, error, EXCEPTION)

    def _function(self, *, keep: bool) -> EntryPoint:
        if self._plugin is None:
            if self._trigger is None:
                raise LoadError("no trigger was loaded")
            # It was not there at the time, or was not a plugin; it may be now.
            self._plugin = find_plugin(self._trigger.path, self._trigger.entry_point)
        return self._plugin.function(keep=keep)

    def _fail(self, call: Call, error: BaseException, kind: int) -> None:
        call.fail(kind_of(error, kind), message_of(error), traceback_of(error, self._sources()))

    def _sources(self) -> dict[str, str]:
        return {} if self._plugin is None else self._plugin.sources()


def _process_writes(function: EntryPoint, call: Call, arguments: Arguments) -> None:
    batches = [table_batch(name, arrow) for name, arrow in call.take_tables()]
    function(call.api, batches, arguments)


def _process_scheduled_call(function: EntryPoint, call: Call, arguments: Arguments) -> None:
    from datetime import datetime, timedelta

    # Naive and in UTC, as the process's own time zone is.
    call_time = datetime(1970, 1, 1) + timedelta(seconds=call.take_schedule())
    function(call.api, call_time, arguments)


def _process_request(function: EntryPoint, call: Call, arguments: Arguments) -> None:
    from bulkhead_worker.request import MultiDict, RequestHeaders
    from bulkhead_worker.response import ResponseError, make_response, stream

    method, parameters, headers, body = call.take_request()
    value = function(call.api, MultiDict(parameters), RequestHeaders(headers, method), body, arguments)
    try:
        status, pairs, content = make_response(value, call.response_bytes_max)
    except ResponseError as error:
        call.fail(RESPONSE, str(error), "")
        return
    if isinstance(content, bytes):
        call.respond(status, pairs, content)
    else:
        stream(call, status, pairs, content)


_CALLS: Final[dict[str, Callable[[EntryPoint, Call, Arguments], Any]]] = {
    "process_writes": _process_writes,
    "process_scheduled_call": _process_scheduled_call,
    "process_request": _process_request,
}
