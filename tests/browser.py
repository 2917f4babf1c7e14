"""A headless Chromium over its debugging pipe, and a server of a folder, for tests of pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Browser", "browser", "served"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 300.0  # seconds, on a busy machine


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


class Browser:
    """One page of a browser."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._from, self._ids, self._rest = to, answers, count(1), b""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params, "sessionId": getattr(self, "_session", None)}
        os.write(self._to, json.dumps({k: v for k, v in message.items() if v is not None}).encode() + b"\0")
        while True:
            content = os.read(self._from, 1 << 20)
            assert content, "the browser has ended"
            *parts, self._rest = (self._rest + content).split(b"\0")
            for part in parts:
                found = json.loads(part)
                if found.get("id") == number:
                    assert "result" in found, found
                    result: dict[str, Any] = found["result"]
                    return result

    def run(self, script: str) -> Any:
        """The value of a script; one that is a promise is awaited."""
        params = {"expression": script, "awaitPromise": True, "returnByValue": True, "replMode": True}
        found = self.call("Runtime.evaluate", params)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a script is true."""
        pause = "await new Promise((next) => setTimeout(next, 100))"
        loop = f"for (let k = 0; k < {10 * WAIT} && !({condition}); k++) {pause}"
        self.run(f"{loop}; if (!({condition})) throw 'late'")

    def open(self, address: str) -> None:
        self.call("Page.navigate", {"url": address})
        self.run("if (document.readyState !== 'complete') await new Promise((next) => addEventListener('load', next))")

    def screenshot(self, path: Path, width: int = 900, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", size)
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", {"format": "png"})["data"]))


@contextmanager
def browser(profile: Path, *options: str) -> Iterator[Browser]:
    """A browser with a profile folder of its own."""
    ours, to = os.pipe()
    answers, theirs = os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    command = ["bash", "-c", f'exec "$@" 3<&{ours} 4>&{theirs}', "bash", str(CHROMIUM), *flags, *options]
    with subprocess.Popen(command, pass_fds=(ours, theirs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
        os.close(ours)
        os.close(theirs)
        try:
            yield Browser(to, answers)
        finally:
            os.close(to)
            os.close(answers)
            it.terminate()
