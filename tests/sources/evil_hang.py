"""Never ends, ignores signals, and leaves directories that are too deep and too closed to remove."""

import os
import signal
import time


def build_wheel(directory, config_settings=None, metadata_directory=None):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.mkdir("closed")
    os.mkdir("closed/inner")
    os.chmod("closed", 0)
    for _ in range(3000):
        os.mkdir("deep")
        os.chdir("deep")
    print("hangs from now on", flush=True)
    if os.fork() == 0:
        os.setsid()
    while True:
        time.sleep(3600)
