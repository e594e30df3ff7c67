"""Data-write plugin that kills its own process: it reads from address zero.

In a server that runs plugins inside its own process this is the end of the server.
"""

import ctypes


def process_writes(influxdb3_local, table_batches, args=None):
    influxdb3_local.warn("about to read from address zero")
    ctypes.string_at(0)
