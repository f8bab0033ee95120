"""PostgreSQL as the record, stopped and started under a running study."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .driver import Spec
from .parts import Say, SkippedError, finish, folder_of_its_own
from .watch import Watch

HOW = "apt-get install postgresql, and pip install 'autosearch[postgres]'"
OWNER = "postgres"


class Server:
    """A PostgreSQL of our own on 127.0.0.1, with its data in a folder.

    Raises:
        SkippedError: if there is none on this machine.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not found:
            raise SkippedError(f"there is no PostgreSQL: {HOW}.")
        try:
            import psycopg2  # noqa: F401 - what SQLAlchemy will look for
        except ImportError as error:
            raise SkippedError(f"there is no psycopg2: {HOW}.") from error
        self._bin, self._data = found[-1].parent, folder / "data"
        folder.mkdir()
        if os.getuid() == 0:  # as which PostgreSQL refuses to run
            shutil.chown(folder, OWNER)
            folder.parent.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._do("initdb", "-D", self._data, "-A", "trust", "-U", OWNER, "--no-sync")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"port = {self._port}\nlisten_addresses = '127.0.0.1'\n")
            file.write(f"unix_socket_directories = '{folder}'\n")
        self.url = f"postgresql+psycopg2://{OWNER}@127.0.0.1:{self._port}/{OWNER}"

    def start(self) -> None:
        self._do("pg_ctl", "-D", self._data, "-l", self._data / "log", "-w", "start")

    def stop(self, mode: str) -> None:
        """`fast` as an administrator does, `immediate` as a crash."""
        self._do("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def _do(self, program: str, *words: object) -> None:
        command = [str(self._bin / program), *map(str, words)]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups", *command]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")


def stopped(seed: int, say: Say, faults: int = 6) -> dict[str, Any]:
    """The server stopped in turns as an administrator does it and as in a crash, and started some seconds later.

    The driver waits and goes on. The last time it is killed while the server is away, and another one goes on.
    """
    moments = random.Random(seed)
    with folder_of_its_own() as folder, _server(folder / "server") as server:
        watch = Watch(Spec(str(folder / "out"), trials=40, storage=server.url, reusable=True))
        driver = watch.start()
        waited = []
        for fault in range(faults):
            watch.wait_for(watch.finished() + 2, driver)
            time.sleep(moments.uniform(0, 1))
            server.stop(("fast", "immediate")[fault % 2])
            time.sleep(moments.uniform(1, 8))
            waited.append(driver.running)
            if not waited[-1]:
                say(f"the driver has ended: {driver.end(1)}")
            if fault == faults - 1:
                driver.kill()
            server.start()
            watch.look(driver if fault == faults - 1 else None)
            say(
                f"stop {fault + 1}: the driver {'waited' if waited[-1] else 'HAS ENDED'}, {watch.finished()} finished"
            )
        found = finish(watch)
        return {"faults": faults, **found, "passed": int(found["passed"] and all(waited))}
