"""What the interpreter is started with: finds the package beside itself and runs the worker."""

import os.path
import sys


def _run() -> int:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # First, so that nothing in the environment takes the package's place; last afterwards, so that
    # the package takes nothing's place for the plugin.
    sys.path.insert(0, root)
    from bulkhead_worker.main import SESSION_FD, main

    sys.path.remove(root)
    sys.path.append(root)
    arguments = sys.argv[1:]
    sys.argv[:] = [""]
    if arguments:
        from bulkhead_worker.zygote import become_worker

        if not become_worker(SESSION_FD, arguments[0]):
            return 0
    return main()


if __name__ == "__main__":
    sys.exit(_run())
