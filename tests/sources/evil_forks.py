"""Makes processes until it may not, none of which ends by itself. The bomb is bounded."""

import os
import time

BOMB = 2000


def build_wheel(directory, config_settings=None, metadata_directory=None):
    made = 0
    try:
        while made < BOMB:
            if os.fork() == 0:
                os.setsid()
                time.sleep(3600)
                os._exit(0)
            made += 1
    except OSError as error:
        raise SystemExit(f"stopped after {made}: {error.strerror}") from error
    raise SystemExit(f"GOT {made}")
