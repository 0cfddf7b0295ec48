"""A private RabbitMQ on free ports, in a folder of its own, as a user without rights."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mercato.kernel.ids import uuid7
from tests.postgres_server import unprivileged
from tests.running import free_port

START_DEADLINE_S = 90.0
CONTROL_DEADLINE_S = 60.0
_HOSTS_AT_ONCE = 8
"""Asking the node for anything costs a second, and for eight virtual hosts as much as for one."""
_FOLDER = Path("/usr/lib/rabbitmq/lib")
_GREETING = b"AMQP\x00\x00\x09\x01"


def binaries() -> Path | None:
    """Return where RabbitMQ's own scripts are, if it is installed: Debian's would change the user."""
    found = sorted(_FOLDER.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1].parent if found and shutil.which("epmd") else None


@dataclass
class RabbitmqServer:
    """One node, with a port mapper of its own, so that no other Erlang on the machine meets it."""

    port: int = 0
    """Where it listens; a free port if none is given."""
    folder: Path = field(default_factory=Path)
    _mapper: "subprocess.Popen[bytes] | None" = None
    _node: "subprocess.Popen[bytes] | None" = None
    _environ: dict[str, str] = field(default_factory=dict)
    _unused_hosts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The process whose children are the node."""
        assert self._node is not None
        return self._node.pid

    def start(self) -> None:
        """Make a node in a new folder, and serve it."""
        self.folder = Path(tempfile.mkdtemp(prefix="mercato-mq-"))
        self.port = self.port or free_port()
        mapper_port = free_port()
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text("mercato-tests")
        cookie.chmod(0o400)
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "log.file = log.txt\n"
            "log.file.level = warning\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        self._environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"mercato-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        }
        user = unprivileged(self.folder)
        if user is not None:
            shutil.chown(cookie, user)
        atexit.register(self.stop)
        self._mapper = self._run(["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"])
        self.serve()

    def new_url(self) -> str:
        """Return where a virtual host is reached that no other test uses."""
        if not self._unused_hosts:
            self._make_hosts()
        return self.url + self._unused_hosts.pop()

    def _make_hosts(self) -> None:
        made = [f"test-{uuid7()[-12:]}" for _ in range(_HOSTS_AT_ONCE)]
        names = ", ".join(f'<<"{name}">>' for name in made)
        rights = '<<".*">>, <<".*">>, <<".*">>'
        self._control(
            "eval",
            f'[begin rabbit_vhost:add(Name, <<"tests">>),'
            f' rabbit_auth_backend_internal:set_permissions(<<"guest">>, Name, {rights}, <<"tests">>) end'
            f" || Name <- [{names}]].",
        )
        self._unused_hosts += made

    def _control(self, *words: str) -> None:
        found = binaries()
        assert found is not None
        process = self._run([str(found / "rabbitmqctl"), *words])
        assert process.wait(CONTROL_DEADLINE_S) == 0, self.log()[-2000:]

    def serve(self) -> None:
        """Start the node on what it kept, and wait until it takes connections."""
        found = binaries()
        assert found is not None
        self._node = self._run([str(found / "rabbitmq-server")])
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            assert self._node.poll() is None, self.log()[-2000:]
            assert time.monotonic() < deadline, f"RabbitMQ did not start: {self.log()[-2000:]}"
            time.sleep(0.05)

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / "out.txt").open("ab") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=unprivileged(self.folder),
                cwd=self.folder,
                env=self._environ,
                # The node is a script's child: the group is what can be killed as one.
                start_new_session=True,
            )

    def _answers(self) -> bool:
        """Say whether the node begins to speak AMQP."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                probe.sendall(_GREETING)
                return probe.recv(1) == b"\x01"
        except OSError:
            return False

    def log(self) -> str:
        """Return what the node said."""
        said = [self.folder / "out.txt", self.folder / "log.txt"]
        return "".join(each.read_text(errors="replace") for each in said if each.exists())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the node."""
        assert self._node is not None
        os.killpg(self._node.pid, number)

    def has_saved_queues(self) -> bool:
        """Say whether a kill would leave every quorum queue that was declared.

        The names of new ones are written into a table that is brought to the disk about a second after the
        last of them. A mark in its head (dets_v9.erl: CLOSED_PROPERLY) says when it was.
        """
        tables = list(self.folder.glob("mnesia/*/quorum/*/names.dets"))
        return bool(tables) and all(table.read_bytes()[8:12] != bytes(4) for table in tables)

    def kill(self) -> None:
        """Kill the node as a power failure would, as far as processes can feel one."""
        assert self._node is not None
        self.signal(signal.SIGKILL)
        self._node.wait(10)

    def stop(self) -> None:
        """Kill it, which is quicker than to ask, and delete all that it kept."""
        for process in (self._node, self._mapper):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def shared() -> RabbitmqServer:
    """Return the server of this test run, started on first use and stopped at its end."""
    server = RabbitmqServer()
    server.start()
    return server
