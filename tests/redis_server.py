"""A private Redis on a free port, in a folder of its own, as a user without rights."""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from tests.running import free_port

START_DEADLINE_S = 20.0
_numbers = count(1)


def binary() -> str | None:
    """Return the server's program, if it is installed."""
    return shutil.which("redis-server")


@dataclass
class RedisServer:
    """One server, which keeps everything in memory alone: whatever ends it loses all."""

    port: int = 0
    folder: Path = field(default_factory=Path)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it in a folder that is new, on a port that stays the same."""
        self.folder = Path(tempfile.mkdtemp(prefix="mercato-redis-"))
        self.port = self.port or free_port()
        atexit.register(self.stop)
        self.serve()

    def serve(self) -> None:
        """Start it, empty, and wait for it."""
        found = binary()
        assert found is not None
        user = None
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody").pw_uid
            shutil.chown(self.folder, user)
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [found, *words], stdout=log, stderr=log, user=user, cwd=self.folder
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send one command, apart from the client under test; return what comes back first."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65_536)

    def kill(self) -> None:
        """Kill it as a power failure would: all that it kept is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and delete all that it kept."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@cache
def shared() -> RedisServer:
    """Return the server of this test run, started on first use and stopped at its end."""
    server = RedisServer()
    server.start()
    return server


def new_prefix() -> str:
    """Return the beginning of names that no other test uses."""
    return f"test{os.getpid()}-{next(_numbers)}"
