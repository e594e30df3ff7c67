"""A pytest fixture that runs a plugin as the server does: in a worker process of its own.

It needs nothing but the program `bulkhead`, found on `PATH` or named by the variable `BULKHEAD`. Plugins lie below
pytest's root directory; relative paths begin there.

    # conftest.py
    pytest_plugins = ["bulkhead_testing"]

    # test_hottest.py
    def test_hottest(bulkhead):
        plugin = bulkhead.run("plugins/hottest.py", "table:weather", arguments={"least": "30"})
        bulkhead.write("weather,city=Oslo t=31.5 1700000000000000000")
        plugin.wait()
        assert bulkhead.query("SELECT t FROM hottest") == [{"t": 31.5}]
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANNOUNCEMENT = "bulkhead listens on "
"""What the server prints before its address."""

STOP_SECONDS = 30.0
"""Time for the server to stop; its workers end with it."""

WAIT_SECONDS = 60.0
"""Time for a plugin to do its work. Its packages may have to be installed first."""

_TRIGGERS = "/api/v3/configure/processing_engine_trigger"
_LOGS = "system.processing_engine_logs"
_FIRST_REFUSAL = 300
"""Status codes from here on say that nothing was done."""


class PluginError(AssertionError):
    """The plugin raised, or could not be run; the text is what its log says."""


@dataclass(frozen=True)
class Log:
    """A line of a plugin's log."""

    level: str
    text: str


@dataclass(frozen=True)
class Response:
    """What a request plugin answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Plugin:
    """A plugin that runs."""

    def __init__(self, server: Bulkhead, name: str, path: str | None) -> None:
        """Belong to a server."""
        self._server = server
        self._name = name
        self._path = path
        self._seen = 0

    def logs(self) -> list[Log]:
        """Return what the plugin has logged and printed so far."""
        return [line for line in self._lines() if not _is_about_execution(line)]

    def wait(self, calls: int = 1, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the plugin has finished so many more calls; raise `PluginError` when one of them fails."""
        wanted, deadline = self._seen + calls, time.monotonic() + seconds
        while True:
            lines = self._lines()
            failed = [line for line in lines if line.level == "ERROR" and line.text.startswith("error ")]
            if failed:
                raise PluginError("\n".join(line.text for line in lines if line.level == "ERROR"))
            finished = sum(line.text.startswith("finished execution") for line in lines)
            if finished >= wanted:
                self._seen = wanted
                return
            if time.monotonic() > deadline:
                said = "\n".join(f"{line.level} {line.text}" for line in lines)
                raise PluginError(f"{finished} of {wanted} calls finished within {seconds} s; the log:\n{said}")
            time.sleep(0.02)

    def request(
        self,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Response:
        """Call a request plugin."""
        if self._path is None:
            raise PluginError(f"the trigger of {self._name} is no request")
        path = f"/api/v3/engine/{self._path}?{urllib.parse.urlencode(query or {})}"
        return self._server.send(method or ("GET" if body is None else "POST"), path, body, headers)

    def _lines(self) -> list[Log]:
        sql = f"SELECT log_level, log_text FROM {_LOGS} WHERE trigger_name = '{self._name}' ORDER BY event_time"
        return [Log(row["log_level"], row["log_text"]) for row in self._server.query(sql)]


class Bulkhead:
    """A server, and a database of its own for each test."""

    def __init__(self, url: str, database: str, root: Path) -> None:
        """Use a server that runs, and whose plugins lie below `root`."""
        self.url = url
        self.root = root
        self.database = database
        self._names = count(1)
        self._triggers: list[str] = []
        self._must("POST", "/api/v3/configure/database", {"db": database})

    def run(self, plugin: str | os.PathLike[str], trigger: str, arguments: Mapping[str, str] | None = None) -> Plugin:
        """Create a trigger for a plugin; it runs until the test ends."""
        name = f"{self.database}_{next(self._names)}"
        trigger_settings = {"run_async": False, "error_behavior": "log"}
        path = Path(plugin)
        body = {
            "db": self.database,
            "plugin_filename": str(path.relative_to(self.root) if path.is_absolute() else path),
            "trigger_name": name,
            "trigger_settings": trigger_settings,
            "trigger_specification": trigger,
            "trigger_arguments": None if arguments is None else dict(arguments),
            "disabled": False,
        }
        self._must("POST", _TRIGGERS, body)
        self._triggers.append(name)
        kind, _, place = trigger.strip().partition(":")
        return Plugin(self, name, place.lstrip("/") if kind in ("request", "path") else None)

    def write(self, lines: str) -> None:
        """Write line protocol with times in nanoseconds."""
        parameters = urllib.parse.urlencode({"db": self.database, "precision": "nanosecond"})
        response = self.send("POST", f"/api/v3/write_lp?{parameters}", lines.encode())
        if response.status >= _FIRST_REFUSAL:
            raise AssertionError(response.text)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Run SQL and return the rows."""
        rows: list[dict[str, Any]] = json.loads(
            self._must("POST", "/api/v3/query_sql", {"db": self.database, "q": sql, "format": "json"})
        )
        return rows

    def close(self) -> None:
        """End the plugins of this test."""
        for name in self._triggers:
            parameters = urllib.parse.urlencode({"db": self.database, "trigger_name": name, "force": "true"})
            self.send("DELETE", f"{_TRIGGERS}?{parameters}")

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request to the server."""
        request = urllib.request.Request(self.url + path, body, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                return Response(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            return Response(answer.code, dict(answer.headers), answer.read())

    def _must(self, method: str, path: str, body: object) -> bytes:
        __tracebackhide__ = True
        response = self.send(method, path, json.dumps(body).encode(), {"content-type": "application/json"})
        if response.status >= _FIRST_REFUSAL:
            raise PluginError(response.text)
        return response.body


def _is_about_execution(line: Log) -> bool:
    return line.text.startswith(("starting execution", "finished execution"))


@pytest.fixture(scope="session")
def bulkhead_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one server for all tests, with pytest's root directory as its plugin directory."""
    data = tmp_path_factory.mktemp("bulkhead")
    root = str(request.config.rootpath)
    program = os.environ.get("BULKHEAD", "bulkhead")
    arguments = ["serve", "--data-dir", str(data), "--plugin-dir", root, "--http-bind", "127.0.0.1:0"]
    with open(data / "stderr", "w+") as stderr:
        server = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            assert server.stdout is not None
            announced = next((line for line in server.stdout if line.startswith(ANNOUNCEMENT)), None)
            if announced is None:
                stderr.seek(0)
                raise RuntimeError(f"{program} did not start: {stderr.read()}")
            yield announced.removeprefix(ANNOUNCEMENT).strip()
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


_DATABASES = count(1)


@pytest.fixture
def bulkhead(request: pytest.FixtureRequest, bulkhead_url: str) -> Iterator[Bulkhead]:
    """Run plugins in real workers."""
    server = Bulkhead(bulkhead_url, f"test{next(_DATABASES)}", request.config.rootpath)
    yield server
    server.close()
