"""A real PostgreSQL server in a folder of its own, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from tests.browser.harness.server import free_port

USER, PASSWORD = "gridpilot", "planted-s3cret"
MISSING = "PostgreSQL is not installed here: no initdb on the PATH or under /usr/lib/postgresql"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted((file.parent for file in Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


class Server:
    """A cluster that listens on a loopback port and asks for a password."""

    def __init__(self, binaries: Path, folder: Path, durable: bool) -> None:
        self.binaries, self.folder, self.port = binaries, folder, free_port()
        self.options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=60"
        )
        self.options += "" if durable else " -c fsync=off"
        self.made = 0

    def url(self, database: str, password: str = PASSWORD, **query: str) -> str:
        """A SQLAlchemy URL."""
        more = "&".join(f"{key}={value}" for key, value in query.items())
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{self.port}/{database}{'?' * bool(more)}{more}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the superuser, without any of the ledger's code; each statement stands for itself."""
        return connect(self.url(database))

    def database(self) -> str:
        """The name of a new, empty database."""
        return self._make("DATABASE")

    def schema(self) -> str:
        """The name of a new, empty schema of the database `postgres`; made in no time."""
        return self._make("SCHEMA")

    def _make(self, kind: str) -> str:
        self.made += 1
        name = f"ledger_{self.made}"
        with self.connect() as connection:
            connection.execute(f"CREATE {kind} {name}".encode())
        return name

    def initialise(self) -> None:
        """Make the cluster."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "--no-sync", "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8")

    def start(self) -> None:
        """Return when it accepts connections."""
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", self.options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; mode `immediate` is what a crash leaves behind."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def _run(self, program: str, *options: str) -> None:
        """As another user where we are root, whom PostgreSQL refuses."""
        command = [str(self.binaries / program), "-D", str(self.folder / "data"), *options]
        other: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = _account()
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        done = subprocess.run(command, cwd=self.folder, check=False, **quiet, **other)
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(done.stderr.decode() + (log.read_text() if log.exists() else ""))


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to where a ledger's URL points."""
    plain = make_url(url).difference_update_query(["head_file"]).set(drivername="postgresql")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


@contextmanager
def serve(durable: bool = False) -> Iterator[Server]:
    """A running server; RuntimeError where PostgreSQL is missing. Unless `durable` it does not wait for the disk."""
    binaries = programs()
    if binaries is None:
        raise RuntimeError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="gridpilot-postgres-"))
    try:
        server = Server(binaries, folder, durable)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
