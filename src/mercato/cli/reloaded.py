"""The process that `mercato up --reload` starts: `mercato`, which ends with the process that started it."""

import os
import signal
import sys
import threading
import time

from mercato.cli.starting import run

_PATIENCE_S = 60.0


def end_with_parent() -> None:
    """Stop when the process that looks after this one is gone: the pipe from it ends then."""

    def listen() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_S)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    run(sys.argv[1:])
