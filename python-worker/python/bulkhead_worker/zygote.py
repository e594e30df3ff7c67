"""A process that imports what the plugin imports, and is copied for each worker.

A copy answers its first event without the imports of a new process. Nothing of the plugin's own code runs before the
copy is made; what it imports has run, with the rights that a worker has, less the right to start programs.
"""

from __future__ import annotations

import gc
import os
import sys
from _ast import FunctionDef, Import, ImportFrom, Try  # the C module

from bulkhead_worker._native import Zygote
from bulkhead_worker.directory import python_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ast import AST
    from collections.abc import Iterator
    from typing import Final

_ONLY_AST: Final = 0x400
"""`ast.PyCF_ONLY_AST`."""

_FORK_SAFE_THREADS: Final = ("jemalloc_bg_thd",)
"""Threads that look after themselves when their process is copied."""


def become_worker(fd: int, plugin: str) -> bool:
    """Import, then serve the runner's orders; true in each copy that is to become a worker."""
    # Imported at the first request otherwise, which is late enough for workers that are not copies. Each copy would
    # have them in memory of its own.
    import bulkhead_worker.request
    import bulkhead_worker.response  # noqa: F401

    zygote = Zygote(fd)
    for path in python_files(plugin) if os.path.isdir(plugin) else [plugin]:
        _preload(path)
    threads = _threads()
    if threads:
        zygote.say(f"unsafe\t{', '.join(threads)}")
        return False
    # What is there now stays there: collecting it would only copy its pages.
    gc.collect()
    gc.freeze()
    zygote.say("ready")
    while zygote.wait():
        if _fork():
            zygote.enter()
            _reseed()
            return True
        zygote.forget()
    return False


def _fork() -> bool:
    """Make a copy that is nobody's child but the reaper's; true in the copy."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    between = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == between:
        os.sched_yield()
    # A signal to its process group is for itself alone, also where Landlock does not keep signals from others. The
    # session stays that of all copies: the scheduler weighs sessions first, and the holder has given it its weight.
    os.setpgid(0, 0)
    return True


def _preload(path: str) -> None:
    """Import what the file imports when it is executed or called. What does not work is the worker's to tell."""
    try:
        with open(path, "rb") as file:
            tree = compile(file.read(), path, "exec", _ONLY_AST, True)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for module, names in _imports(tree):
        _try_import(module, names)


def _try_import(module: str, names: list[str]) -> None:
    try:
        __import__(module, None, None, names)
    except BaseException:  # a module may raise anything, also SystemExit
        return


def _imports(tree: AST) -> Iterator[tuple[str, list[str]]]:
    """Imports of the module and of its functions; those under conditions may be meant not to run."""
    waiting = list(tree.body)  # type: ignore[attr-defined]
    for node in waiting:
        if isinstance(node, Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ImportFrom) and node.module and not node.level:
            yield node.module, [alias.name for alias in node.names if alias.name != "*"]
        elif isinstance(node, (FunctionDef, Try)):
            waiting.extend(node.body)


def _threads() -> list[str]:
    """Name the threads that a copy would lack; an answer that cannot be had counts as one."""
    try:
        own = str(os.getpid())
        others = [task for task in os.listdir("/proc/self/task") if task != own]
        names = []
        for task in others:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().strip())
    except OSError as error:
        return [f"threads cannot be counted: {error}"]
    return [name for name in names if name not in _FORK_SAFE_THREADS]


def _reseed() -> None:
    """Give the copy random numbers of its own. Python's own generator sees to itself."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()
