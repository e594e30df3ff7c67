"""Tests of {{NAME}}: `pytest` runs them in this directory, each in a worker process as a trigger has it.

The fixture `bulkhead` is that of `typings/bulkhead_testing.py`; the variable `BULKHEAD` names the program.
"""

from pathlib import Path

pytest_plugins = ["bulkhead_testing"]

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def test_beats_are_counted(bulkhead):
    plugin = bulkhead.run(PLUGIN, "every:100ms")
    plugin.wait(calls=2)
    beats = [row["beats"] for row in bulkhead.query("SELECT beats FROM heartbeat ORDER BY beats")]
    assert beats[:2] == [1, 2]
    assert plugin.logs()[0].text.startswith("beat 1, due at ")


def test_the_table_is_an_argument(bulkhead):
    plugin = bulkhead.run(PLUGIN, "every:100ms", arguments={"table": "pulse"})
    plugin.wait()
    assert bulkhead.query("SELECT beats FROM pulse ORDER BY beats LIMIT 1") == [{"beats": 1}]
