"""A mail server that takes everything and prints what it takes: it stands for the demo's mail catcher."""

from __future__ import annotations

import asyncio
import sys


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk SMTP with one client, and believe all that it says."""
    in_data = False
    writer.write(b"220 mail\r\n")
    while line := await reader.readline():
        word = line.strip().upper()
        if in_data:
            sys.stdout.write(line.decode(errors="replace"))
            in_data = word != b"."
            answer = b"" if in_data else b"250 taken\r\n"
        elif word == b"DATA":
            in_data, answer = True, b"354 go on\r\n"
        else:
            answer = b"221 bye\r\n" if word == b"QUIT" else b"250 mail\r\n"
        writer.write(answer)
        await writer.drain()
    writer.close()


async def serve() -> None:
    """Listen as the mail catcher does."""
    server = await asyncio.start_server(take, "0.0.0.0", 1025)
    await server.serve_forever()


asyncio.run(serve())
