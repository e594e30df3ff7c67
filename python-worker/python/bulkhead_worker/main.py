"""The worker's main thread: sets the process up, then serves orders until the runner says to finish."""

from __future__ import annotations

import builtins
import faulthandler
import os
import sys

# The C module: `signal` imports `enum`, which takes a tenth of the worker's start.
from _signal import set_wakeup_fd, signal  # type: ignore[import-not-found]
from types import ModuleType

from bulkhead_worker import capture, environ, logs
from bulkhead_worker._native import (
    Cancelled,
    InfluxDBError,
    InvalidKeyError,
    InvalidLineError,
    InvalidMeasurementError,
    LineBuilder,
    QueryError,
    connect,
)
from bulkhead_worker.handlers import Handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from bulkhead_worker._native import Session

SESSION_FD = 3
"""The runner passes its end of the socketpair here."""

EXIT_PROTOCOL = 70
"""The runner refused the session; as in the extension."""

STDERR_FD = 2


def main() -> int:
    """Serve one session; the result is the exit code."""
    faulthandler.enable(file=STDERR_FD, all_threads=True)
    # Byte code is checked by whole seconds; a plugin that is edited twice in one would be stale.
    sys.dont_write_bytecode = True
    sys.argv[:] = [""]
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        session = connect(SESSION_FD, f"{_implementation()} {version}")
    except (OSError, OverflowError) as error:
        os.write(STDERR_FD, f"bulkhead worker: {error}\n".encode())
        return EXIT_PROTOCOL
    _offer_names()
    _handle_cancellation(session)
    _handle_forks(session)
    _handle_exits(session)
    capture.install(session)
    logs.install(session)
    environ.install(session)
    handlers = Handlers()
    session.serve(handlers.load, handlers.call)
    session.close()
    # What `atexit` functions print goes to the real streams: nobody reads the session any more.
    capture.uninstall()
    return 0


def _implementation() -> str:
    name = sys.implementation.name
    return "CPython" if name == "cpython" else name


def _offer_names() -> None:
    """Put the names where plugins written for InfluxDB 3 find them."""
    builtins.LineBuilder = LineBuilder  # type: ignore[attr-defined]
    main_module = sys.modules["__main__"]
    for error in (InfluxDBError, InvalidMeasurementError, InvalidKeyError, InvalidLineError):
        setattr(main_module, error.__name__, error)
    api_module = ModuleType("influxdb3_py_api", "Exceptions of `influxdb3_local`.")
    api_module.QueryError = QueryError  # type: ignore[attr-defined]
    sys.modules["influxdb3_py_api"] = api_module


def _handle_cancellation(session: Session) -> None:
    def cancel(_signal: int, _frame: FrameType | None) -> None:
        # There is no reason unless the plugin is running and has not been told yet.
        reason = session.take_cancellation()
        if reason is not None:
            raise Cancelled(reason)

    signal(session.CANCEL_SIGNAL, cancel)
    set_wakeup_fd(session.signal_fd, warn_on_full_buffer=False)


def _handle_exits(session: Session) -> None:
    exit_now = os._exit

    def flushed_exit(status: int) -> NoReturn:
        # What the plugin said last is what its author looks for.
        session.flush()
        exit_now(status)

    os._exit = flushed_exit


def _handle_forks(session: Session) -> None:
    def in_child() -> None:
        session.forked()
        capture.uninstall()

    os.register_at_fork(after_in_child=in_child)
