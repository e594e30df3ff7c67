"""What plugins use of Python's own library, each in a function of its own."""

import concurrent.futures
import locale
import multiprocessing
import os
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import zoneinfo
from datetime import datetime


def database(query):
    path = os.path.join(tempfile.gettempdir(), "inside.db")
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table if not exists m (v integer)")
        connection.executemany("insert into m values (?)", [(1,), (2,)])
        total = connection.execute("select sum(v) from m").fetchone()[0]
    connection.close()
    os.remove(path)
    memory = sqlite3.connect(":memory:").execute("select upper('x')").fetchone()[0]
    return f"{total} {memory}"


def temporary(query):
    with tempfile.NamedTemporaryFile("w+") as file, tempfile.TemporaryDirectory() as directory:
        file.write("text")
        file.flush()
        with open(os.path.join(directory, "copy"), "w") as copy:
            file.seek(0)
            copy.write(file.read())
        kept = os.listdir(directory)
    with tempfile.SpooledTemporaryFile(max_size=10) as spooled, tempfile.TemporaryFile() as nameless:
        spooled.write(b"more than ten bytes")
        nameless.write(b"x")
    return f"{kept} {os.path.exists(directory)}"


def zones(query):
    zoneinfo.ZoneInfo.clear_cache()
    if query["from"] == "nowhere":
        zoneinfo.reset_tzpath([])
    try:
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError as error:
        return type(error).__name__
    return datetime(2026, 7, 1, 12, tzinfo=zone).isoformat()


def trust(query):
    return str(ssl.create_default_context().cert_store_stats()["x509_ca"])


def fetch(query):
    trusted = ssl.create_default_context(cafile=query["trust"]) if "trust" in query else None
    try:
        with urllib.request.urlopen(query["url"], timeout=20, context=trusted) as response:
            return response.read().decode()
    except OSError as error:
        return str(getattr(error.reason, "verify_message", error))


def language(query):
    locale.setlocale(locale.LC_ALL, "")
    return " ".join(
        [
            locale.getpreferredencoding(),
            sys.getfilesystemencoding(),
            time.strftime("%A", time.gmtime(0)),
            "ä".upper(),
            locale.str(1.5),
        ]
    )


def program(query):
    done = subprocess.run(["/bin/sh", "-c", "tr a-z A-Z; exit 3"], input="text", capture_output=True, text=True)
    own = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
    return f"{done.stdout} {done.returncode} {own.stdout.strip()}"


def square(number):
    return number * number


def processes(query):
    context = multiprocessing.get_context("fork")
    queue, event = context.Queue(), context.Event()
    child = context.Process(target=lambda: (event.wait(20), queue.put("said")))
    child.start()
    event.set()
    said = queue.get(timeout=20)
    child.join()
    with context.Pool(2) as pool:
        squares = pool.map(square, range(4))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        sums = sum(executor.map(square, range(4)))
    shared = context.Array("i", 2)
    writer = context.Process(target=lambda: shared.__setitem__(1, 7))
    writer.start()
    writer.join()
    return f"{said} {squares} {sums} {shared[1]}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    functions = {
        function.__name__: function
        for function in (database, temporary, zones, trust, fetch, language, program, processes)
    }
    return functions[query_parameters["what"]](query_parameters)
