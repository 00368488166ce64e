"""A server that ends when whoever started it does, however that ends: its stdin is a pipe from there."""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    sys.argv[0] = "cupola"
    runpy.run_module("server", run_name="__main__", alter_sys=True)
