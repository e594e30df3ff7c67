"""Tests of {{NAME}}: `pytest` runs them, each in a worker as a trigger has it. `BULKHEAD` names the program."""

import json
import os
import subprocess
from pathlib import Path

PLUGIN = Path(__file__).with_name("{{NAME}}.py")


def run(*arguments):
    command = [os.environ.get("BULKHEAD", "bulkhead"), "test", "request_plugin", "--local", "--json"]
    return json.loads(subprocess.run([*command, *arguments, PLUGIN], stdout=subprocess.PIPE).stdout)


def test_a_name_is_greeted():
    response = run("--query", "name=Ada")["response"]
    assert (response["status"], json.loads(response["body"])) == (200, {"greeting": "hello Ada"})


def test_nobody_is_told_what_to_do():
    assert run()["response"]["status"] == 400
