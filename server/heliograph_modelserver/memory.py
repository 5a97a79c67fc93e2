"""Gives memory back to the system, and keeps background threads from competing with requests."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading

_BACKGROUND_NICENESS = 10
"""Niceness of load and unload threads: they yield to requests, and still finish when it is busy."""


def release_memory() -> None:
    """Collect what an unloaded model leaves behind and return freed memory to the system."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def use_system_allocator() -> None:
    """Let TensorFlow take memory from malloc, from which it can come back.

    With oneDNN, TensorFlow on the CPU otherwise keeps a pool that never shrinks. Call it before the
    first session; who has set the variable wants something else.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "true")


def freeze_imported() -> None:
    """Leave out of later collections what is imported: it is slow to scan and never garbage."""
    gc.collect()
    gc.freeze()


def lower_thread_priority() -> None:
    """Let the current thread yield the processor to others; on Linux only, elsewhere do nothing."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BACKGROUND_NICENESS)
