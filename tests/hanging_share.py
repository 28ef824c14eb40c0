"""A share that hangs: a FUSE file system, spoken in this module, that shows a folder and answers as it is told to.

It is read-only, and reports itself as sshfs, so that it is polled as other network shares are: files are put into the
folder behind it, as another host would. Only root may mount it, and only Linux has it.
"""

import ctypes
import errno
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MS_RDONLY, MS_NOSUID, MS_NODEV, MNT_DETACH = 1, 2, 4, 2
LOOKUP, FORGET, GETATTR, READLINK, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 42
HEADER = struct.Struct("=IIQQIIIHH")
ROOT = 1
MAX_READ = 2**17
LIBC = ctypes.CDLL(None, use_errno=True)


class HangingShare:
    """Mounted at `mount`, it shows what is in `behind`."""

    def __init__(self, behind: Path, mount: Path) -> None:
        """Skips the test where nobody may mount it; in CI that is a failure."""
        self.behind, self.mount = behind, mount
        for folder in (behind, mount):
            folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.hanging_share", str(behind), str(mount)]
        top = Path(__file__).parents[1]
        self._server = subprocess.Popen(
            command, cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._server.stdout and self._server.stderr
        if self._server.stdout.readline() != "mounted\n":
            _, reason = self._server.communicate()
            problem = f"this machine lets no test mount a FUSE file system: {reason.strip().splitlines()[-1:]}"
            pytest.fail(problem) if os.environ.get("CI") and Path("/dev/fuse").exists() else pytest.skip(problem)

    def hang(self) -> None:
        """Take requests and answer none: not even SIGKILL ends a process that waits for one."""
        self._tell("hang")

    def answer(self) -> None:
        """Answer all requests that were held back, and those to come."""
        self._tell("answer")

    def die(self) -> None:
        """As a server that crashes: the mount stays, and each call on it fails with ENOTCONN."""
        self._server.kill()
        self._server.wait()

    def close(self) -> None:
        """Whatever hangs in it is let go: with its server's end each call fails."""
        self._server.kill()
        self._server.communicate()
        LIBC.umount2(os.fsencode(self.mount), MNT_DETACH)

    def _tell(self, order: str) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(f"{order}\n")
        self._server.stdin.flush()
        assert self._server.stdout.readline() == f"{order}\n"


class PretendedShare:
    """A folder in which system calls hang by a seam (`faults/seams`), in the product's processes: for every machine."""

    def __init__(self, folder: Path, file: Path) -> None:
        """`file` is what the variable HANG names."""
        self.behind = self.mount = folder
        self._file, self._fifo = file, file.with_name(f"{file.name}.fifo")
        self.behind.mkdir(exist_ok=True)
        os.mkfifo(self._fifo)
        self._released = os.open(self._fifo, os.O_RDWR)

    def hang(self) -> None:
        os.close(self._released)
        (aside := self._file.with_suffix(".part")).write_text(str(self.mount))
        aside.rename(self._file)

    def answer(self) -> None:
        self._file.unlink(missing_ok=True)
        self._released = os.open(self._fifo, os.O_RDWR)

    def close(self) -> None:
        if self._file.exists():
            self.answer()
        os.close(self._released)


class _Server:
    def __init__(self, behind: Path, mount: Path) -> None:
        self._device = os.open("/dev/fuse", os.O_RDWR)
        self._paths = {ROOT: behind}
        self._numbers = {behind: ROOT}
        self._held: list[bytes] | None = None
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        flags = MS_RDONLY | MS_NOSUID | MS_NODEV
        if LIBC.mount(b"share", os.fsencode(mount), b"fuse.sshfs", flags, options):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(mount))

    def run(self) -> None:
        print("mounted", flush=True)
        while True:
            ready, _, _ = select.select([self._device, sys.stdin], [], [])
            if sys.stdin in ready and not self._obey(sys.stdin.readline().strip()):
                return
            if self._device in ready:
                try:
                    self._take(os.read(self._device, MAX_READ + 4096))
                except OSError as error:
                    if error.errno == errno.ENODEV:  # it was unmounted
                        return

    def _obey(self, order: str) -> bool:
        if order == "hang":
            self._held = []
        elif order == "answer":
            held, self._held = self._held or [], None
            for request in held:
                self._take(request)
        print(order, flush=True)
        return bool(order)

    def _take(self, request: bytes) -> None:
        _, operation, unique, node, *_ = HEADER.unpack_from(request)
        if operation in (FORGET, BATCH_FORGET, INTERRUPT):  # which want no answer
            return
        if self._held is not None:
            self._held.append(request)
            return
        try:
            body, number = ANSWERS[operation](self, node, request[HEADER.size :]), 0
        except KeyError:
            body, number = b"", errno.ENOSYS
        except OSError as error:
            body, number = b"", error.errno or errno.EIO
        try:
            os.write(self._device, struct.pack("=IiQ", 16 + len(body), -number, unique) + body)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the caller is gone
                raise

    def init(self, _: int, body: bytes) -> bytes:
        major, _, readahead, _ = struct.unpack_from("=IIII", body)
        return struct.pack("=IIIIHHIIHHI28x", major, 31, readahead, 0, 12, 9, MAX_READ, 1, 32, 0, 0)

    def lookup(self, node: int, body: bytes) -> bytes:
        path = self._paths[node] / os.fsdecode(body.rstrip(b"\0"))
        attributes = _attributes(path)
        number = self._numbers.setdefault(path, len(self._numbers) + 1)
        self._paths[number] = path
        return struct.pack("=QQQQII", number, 0, 0, 0, 0, 0) + attributes

    def getattr(self, node: int, _: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0) + _attributes(self._paths[node])

    def readlink(self, node: int, _: bytes) -> bytes:
        return os.fsencode(self._paths[node].readlink())

    def open(self, node: int, _: bytes) -> bytes:
        return struct.pack("=QII", node, 0, 0)

    def read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        with self._paths[node].open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        listing = b""
        for number, name in enumerate(_names(self._paths[node])[offset:], offset + 1):
            entry = struct.pack("=QQII", number, number, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(listing) + len(entry) > size:
                break
            listing += entry
        return listing

    def nothing(self, _: int, _body: bytes) -> bytes:
        return b""

    def statfs(self, _: int, _body: bytes) -> bytes:
        return struct.pack("=QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)


def _names(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(file.name) for file in folder.iterdir())


def _attributes(path: Path) -> bytes:
    stat = path.lstat()
    times = (stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns)
    seconds, fractions = zip(*(divmod(time, 10**9) for time in times), strict=True)
    owner = (stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, 0, 4096, 0)
    return struct.pack("=6Q10I", stat.st_ino, stat.st_size, stat.st_blocks, *seconds, *fractions, *owner)


ANSWERS: dict[int, Callable[[_Server, int, bytes], bytes]] = {
    INIT: _Server.init,
    LOOKUP: _Server.lookup,
    GETATTR: _Server.getattr,
    READLINK: _Server.readlink,
    OPEN: _Server.open,
    OPENDIR: _Server.open,
    READ: _Server.read,
    READDIR: _Server.readdir,
    STATFS: _Server.statfs,
    RELEASE: _Server.nothing,
    RELEASEDIR: _Server.nothing,
    FLUSH: _Server.nothing,
}


if __name__ == "__main__":
    target = Path(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends with the tests, however they end, and is no share before
        signal.signal(number, signal.SIG_IGN)
    try:
        _Server(Path(sys.argv[1]), target).run()
    finally:
        LIBC.umount2(os.fsencode(target), MNT_DETACH)  # also if the tests were killed
