"""A headless Chromium that a test drives over its own protocol: to look at a page, and to try it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.patience import PATIENCE

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program() -> str:
    """Return the browser; skip where there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("no Chromium on the path; 'make services' installs it")
    return found


class Browser:
    """One tab."""

    def __init__(self, socket: WebSocketClientConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = socket
        self._loop = loop
        self._number = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Have the browser do something; return its answer."""
        self._number += 1
        return self._loop.run_until_complete(
            asyncio.wait_for(self._call(self._number, method, params), PATIENCE)
        )

    async def _call(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._read())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]  # type: ignore[no-any-return]

    async def _read(self) -> str:
        message = await self._socket.read_message()
        assert isinstance(message, str), "the browser is gone"
        return message

    def run(self, script: str) -> Any:
        """Return what a script comes to in the page."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a page; return when it is there with its style."""
        self.run("window.gone = true")
        self.call("Page.navigate", url=url)
        self.wait("!window.gone && document.readyState === 'complete'")

    def wait(self, condition: str) -> None:
        """Return once a condition holds in the page."""
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(AssertionError):  # between two pages there is none
                if self.run(condition):
                    return
            assert time.monotonic() < end, f"waited in vain for {condition}"
            time.sleep(0.02)

    def show_as(self, *, width: int, dark: bool = False, script: bool = True) -> None:
        """Have pages that wide, in a theme, and with or without scripts of their own."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, file: Path) -> None:
        """Write a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Give a browser with a profile of its own; end it and what it started."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--remote-debugging-port=0"]  # fmt: skip
    process = subprocess.Popen(
        [program(), *options, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    loop = asyncio.new_event_loop()
    try:
        socket = loop.run_until_complete(_connect(_tab(folder, process)))
        browser = Browser(socket, loop)
        browser.call("Page.enable")
        yield browser
        socket.close()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        loop.close()


async def _connect(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address, max_message_size=1 << 28)


def _tab(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the first tab, once the browser has written down its port."""
    end = time.monotonic() + PATIENCE
    note = folder / "DevToolsActivePort"
    while True:
        assert process.poll() is None, "the browser ended"
        with suppress(OSError, ValueError, StopIteration, IndexError):
            port = int(note.read_text().splitlines()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
                tabs = json.load(answer)
            return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
        assert time.monotonic() < end, "the browser does not answer"
        time.sleep(0.02)
