"""A network that fails: a TCP proxy between a client and a server that can cut, refuse and forget connections."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

TCP_REPAIR = 19
"""Linux: a socket in this state is closed without a word to its peer. Only root may do so."""


class Proxy:
    """Passes on what comes to `port`, until told otherwise; in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """No byte gets through either way, nobody is told, and who connects waits for an answer."""
        self._call(self._set(passes=False))

    def refuse(self) -> None:
        """Every connection is reset, and new ones are refused."""
        self._call(self._close())

    def heal(self, *, reset: bool = False, forget: bool = False) -> None:
        """Let new connections through, and those there are: unless they are reset, or forgotten without a word."""
        if reset or forget:
            self._call(self._drop(is_silent=forget))
        self._call(self._open())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(self, *, passes: bool) -> None:
        if passes:
            self._passes.set()
        else:
            self._passes.clear()

    async def _open(self) -> None:
        self._passes.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop(is_silent=False)

    async def _drop(self, *, is_silent: bool) -> None:
        for writer in self._clients.copy():
            found = writer.get_extra_info("socket")
            if is_silent:
                found.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            else:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await asyncio.sleep(0.01)  # until they are closed

    async def _end(self) -> None:
        await self._close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            await self._passes.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                pumps = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
                tasks = [asyncio.ensure_future(pump) for pump in pumps]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            finally:
                far_writer.close()
        except OSError:
            pass  # the server is gone, and so is this connection
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
