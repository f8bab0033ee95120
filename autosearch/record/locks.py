"""The two locks of a journal file.

`DriverLock` is held for a driver's life; the kernel frees it when the process dies. `WriteLock` is Optuna's own, held
for the moment of an append, so that Optuna programs (the dashboard's notes, say) may write to the same file.
"""

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from autosearch.core.errors import RecordError, StudyLockedError

_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_open_locks: "weakref.WeakSet[DriverLock]" = weakref.WeakSet()


class DriverLock:
    """An OS lock on `PATH.driver`, which names its holder.

    Args:
        path: of the journal.

    Raises:
        StudyLockedError: if another driver holds it.
        RecordError: if the file system has no locks.
    """

    _fd: int | None = None

    def __init__(self, path: Path) -> None:
        # Beside the file itself, whatever links lead to it: two names must not let two drivers in.
        # `Path.resolve` raises where links go in a circle; there is a better error for that, when the file is opened.
        real = Path(os.path.realpath(path))
        self.path = real.with_name(real.name + ".driver")
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._take(fd, path)
                # The last holder removes the file: a lock on a removed file locks nothing.
                if self._same_file(fd):
                    self._fd = fd
            finally:
                if self._fd is None:
                    os.close(fd)
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, holder.encode(), 0)
        _open_locks.add(self)

    def _take(self, fd: int, path: Path) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyLockedError(
                f"{path}: {_holder(fd)} works on it. Wait for its end, stop it, or use another `storage`."
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            raise RecordError(
                f"{path}: its file system has no locks ({error.strerror}), which keep a second driver out. "
                "Put `storage` on another one, or use a database."
            ) from error

    def _same_file(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            self._drop()

    def __del__(self) -> None:
        # Of a study that nobody can close any more: the kernel would keep the lock until this process ends.
        self._drop()

    def _drop(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _holder(fd: int) -> str:
    try:
        found = json.loads(os.pread(fd, 4096, 0) or b"{}")
        pid, host = int(found["pid"]), str(found["host"])
    except (ValueError, KeyError, TypeError):
        return "another driver, which has just started,"
    if pid == os.getpid() and host == socket.gethostname():
        return "a study that is still open in this process (`study.close()`)"
    return f"another driver (process {pid} on {host})"


def works_on(path: Path) -> bool | None:
    """Whether a driver works on the journal, without touching its lock; None where this machine cannot tell."""
    real = Path(os.path.realpath(path))
    try:
        found = json.loads(real.with_name(real.name + ".driver").read_bytes())
        pid, host = int(found["pid"]), str(found["host"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drop_in_child() -> None:
    # A forked child (a data loader's worker) shares the lock: it must not outlive the driver there.
    for lock in list(_open_locks):
        lock._drop()


os.register_at_fork(after_in_child=_drop_in_child)


class WriteLock:
    """Optuna's lock file beside a journal, as `JournalFileOpenLock` and `JournalFileSymlinkLock` both know it.

    Args:
        path: of the journal.
        grace_s: seconds after which a lock that nobody touches counts as left behind by a dead writer.
    """

    def __init__(self, path: Path, grace_s: float = 30.0) -> None:
        self.path = path.with_name(path.name + ".lock")
        self.grace_s = grace_s

    def clear(self) -> None:
        """Remove a lock left behind. Only under the driver's lock, before the first write."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> None:
        wait, since, touched = 0.001, time.monotonic(), None
        while True:
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return
            except FileExistsError:
                try:
                    latest = self.path.lstat().st_mtime
                except FileNotFoundError:
                    continue
                if latest != touched:
                    touched, since = latest, time.monotonic()
                elif time.monotonic() - since > self.grace_s:
                    self.clear()
                    continue
                time.sleep(wait)
                wait = min(2 * wait, 0.1)

    def __exit__(self, *exception: object) -> None:
        self.path.unlink(missing_ok=True)
