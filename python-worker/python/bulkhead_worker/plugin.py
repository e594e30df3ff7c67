"""A plugin: one file, or a directory with `__init__.py`."""

import os.path

from bulkhead_worker.directory import Directory
from bulkhead_worker.entry import LoadError
from bulkhead_worker.single import SingleFile

Plugin = Directory | SingleFile
"""Both `check` whether they load, give their `function` as the files say now, and tell the `sources` they compiled."""


def find_plugin(path: str, entry_point: str) -> Plugin:
    """Make a plugin of what stands at `path`; nothing of it runs yet."""
    if not os.path.isdir(path):
        return SingleFile(path, entry_point)
    if not os.path.isfile(os.path.join(path, "__init__.py")):
        raise LoadError(f"Multi-file plugin directory must contain __init__.py: {path}")
    return Directory(path, entry_point)
