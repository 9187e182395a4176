"""The device's side of adb, as much as tests need: stock clients connect, run programs, push and pull.

    python adbd.py PORT ROOT

Programs run inside ROOT as Android's shell user. No authentication; shell protocol 2 and the first sync protocol. A
client's stream is a coroutine; every frame of 24 bytes is command, two stream numbers, length, checksum, and the
command's complement. Each packet that carries data must be answered with OKAY before the next one may be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
from pathlib import Path

MAXIMUM = 256 * 1024
USER = 2000
BANNER = b"device::ro.product.name=lab;ro.product.model=simulated;ro.product.device=lab;features=shell_v2,cmd"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
ENVIRONMENT = {
    "PATH": "/system/bin:/bin",
    "HOME": "/",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_DATA": "/data",
    "QEMU_CPU": "cortex-a76",
}


def code(name: str) -> int:
    return int.from_bytes(name.encode(), "little")


class Stream:
    """One service that a client has opened."""

    def __init__(self, connection: Connection, own: int, other: int) -> None:
        self.connection, self.own, self.other = connection, own, other
        self.may_send, self.incoming = asyncio.Event(), asyncio.Queue[bytes | None]()
        self.may_send.set()
        self.rest, self.closed = b"", False

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAXIMUM):
            await self.may_send.wait()
            if self.closed:
                return
            self.may_send.clear()
            self.connection.send("WRTE", self.own, self.other, data[start : start + MAXIMUM])
        await self.may_send.wait()

    async def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = await self.incoming.get()
            if data is None:
                raise EOFError
            self.rest += data
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.send("CLSE", self.own, self.other)
            self.may_send.set()
            self.incoming.put_nowait(None)


class Connection:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, root: Path) -> None:
        self.reader, self.writer, self.root = reader, writer, root
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    def send(self, command: str, first: int, second: int, data: bytes = b"") -> None:
        number = code(command)
        head = struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        self.writer.write(head + data)

    async def run(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self.reader.readexactly(24)
                command, first, second, size = struct.unpack("<4I", head[:16])
                self.handle(command.to_bytes(4, "little"), first, second, await self.reader.readexactly(size))
                await self.writer.drain()
        for stream in self.streams.values():
            stream.closed = True
            stream.may_send.set()
            stream.incoming.put_nowait(None)
        self.writer.close()

    def handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        stream = self.streams.get(second)
        if command == b"CNXN":
            self.send("CNXN", 0x01000001, MAXIMUM, BANNER)
        elif command == b"OPEN":
            self.count += 1
            opened = self.streams[self.count] = Stream(self, self.count, first)
            task = asyncio.create_task(self.serve(opened, data.rstrip(b"\0").decode()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif command == b"OKAY" and stream is not None:
            stream.may_send.set()
        elif command == b"WRTE" and stream is not None:
            stream.incoming.put_nowait(data)
            self.send("OKAY", second, first)
        elif command == b"CLSE" and stream is not None:
            del self.streams[second]
            stream.close()

    async def serve(self, stream: Stream, service: str) -> None:
        kind, _, argument = service.partition(":")
        if kind.split(",")[0] in ("shell", "exec"):
            self.send("OKAY", stream.own, stream.other)
            await self.shell(stream, argument, "v2" in kind.split(","))
        elif kind == "sync":
            self.send("OKAY", stream.own, stream.other)
            with contextlib.suppress(EOFError):
                while await self.sync(stream):
                    pass
        stream.close()

    async def shell(self, stream: Stream, command: str, framed: bool) -> None:
        def become_shell() -> None:
            os.chroot(self.root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)

        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command or "exec sh",
            stdin=pipe, stdout=pipe, stderr=pipe if framed else asyncio.subprocess.STDOUT,
            preexec_fn=become_shell, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None

        async def pump(source: asyncio.StreamReader | None, number: int) -> None:
            while source is not None and (data := await source.read(65536)):
                await stream.write(struct.pack("<BI", number, len(data)) + data if framed else data)

        async def feed() -> None:
            assert process.stdin is not None
            try:
                while True:
                    if not framed:
                        process.stdin.write(await stream.read(1))
                        continue
                    number, size = struct.unpack("<BI", await stream.read(5))
                    data = await stream.read(size)
                    if number == STDIN:
                        process.stdin.write(data)
                        await process.stdin.drain()
                    elif number == CLOSE_STDIN:
                        process.stdin.close()
            except (EOFError, ConnectionError):  # the client has gone
                process.stdin.close()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGHUP)

        feeding = asyncio.create_task(feed())
        await asyncio.gather(pump(process.stdout, STDOUT), pump(process.stderr, STDERR))
        ended = await process.wait()
        if framed:
            await stream.write(struct.pack("<BIB", EXIT, 1, (128 - ended if ended < 0 else ended) & 255))
        feeding.cancel()

    def path(self, name: str) -> Path:
        return self.root / os.path.normpath("/" + name).lstrip("/")

    async def sync(self, stream: Stream) -> bool:
        """One request of the sync protocol; False after the last."""
        request, size = struct.unpack("<4sI", await stream.read(8))
        if request == b"QUIT":
            return False
        name = (await stream.read(size)).decode()
        try:
            await {b"STAT": self.stat, b"SEND": self.take, b"RECV": self.give}[request](stream, name)
        except OSError as error:
            text = (error.strerror or str(error)).encode()
            await stream.write(struct.pack("<4sI", b"FAIL", len(text)) + text)
        return True

    async def stat(self, stream: Stream, name: str) -> None:
        mode = size = changed = 0
        with contextlib.suppress(OSError):
            found = self.path(name).lstat()
            mode, size, changed = found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)
        await stream.write(struct.pack("<4s3I", b"STAT", mode, size, changed))

    async def take(self, stream: Stream, name: str) -> None:
        path = self.path(name.rpartition(",")[0])
        failed: OSError | None = None
        file = None
        try:
            file = path.open("wb", buffering=0)
        except OSError as error:
            failed = error
        while True:
            kind, size = struct.unpack("<4sI", await stream.read(8))
            if kind == b"DONE":
                break
            data = await stream.read(size)
            if file is not None and failed is None:
                try:
                    while data:
                        data = data[file.write(data) :]
                except OSError as error:
                    failed = error
        if file is not None:
            file.close()
        if failed is not None:
            raise failed
        os.chown(path, USER, USER)
        path.chmod(0o644)
        await stream.write(struct.pack("<4sI", b"OKAY", 0))

    async def give(self, stream: Stream, name: str) -> None:
        with self.path(name).open("rb") as file:
            while data := file.read(65536):
                await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
        await stream.write(struct.pack("<4sI", b"DONE", 0))


async def main() -> None:
    root = Path(sys.argv[2]).resolve()
    server = await asyncio.start_server(
        lambda reader, writer: Connection(reader, writer, root).run(), "127.0.0.1", int(sys.argv[1])
    )
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
