"""Firefox without a window, driven by its own remote protocol (Marionette), as geckodriver does, which Debian has not."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_LIMIT = 60  # seconds


class Firefox:
    """One page. `script` runs a function's body in it, `stop` ends it."""

    def __init__(self, log):
        self.profile = Path(tempfile.mkdtemp(prefix="firefox-"))
        # The port is one that the kernel chooses.
        (self.profile / "user.js").write_text('user_pref("marionette.port", 0);\n'
                                              'user_pref("network.captive-portal-service.enabled", false);\n'
                                              'user_pref("network.connectivity-service.enabled", false);\n')
        command = ["firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", str(self.profile)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.socket = socket.create_connection(("127.0.0.1", self._port()), timeout=60)
        self.number = 0
        self._read()  # what it is
        self._ask("WebDriver:NewSession", {})

    def open(self, url):
        self._ask("WebDriver:Navigate", {"url": url})

    def script(self, body):
        return self._ask("WebDriver:ExecuteScript", {"script": body, "args": []})["value"]

    def canvas(self, selector):
        """The pixels of a canvas as the bytes of a PNG; None while there is none."""
        url = self.script(f"const c = document.querySelector({json.dumps(selector)}); return c && c.toDataURL('image/png')")
        return url and base64.b64decode(url.partition(",")[2])

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _port(self):
        file, end = self.profile / "MarionetteActivePort", time.monotonic() + START_LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            if file.exists() and (text := file.read_text().strip()):
                return int(text)
            time.sleep(0.1)
        self.process.kill()
        raise AssertionError(f"Firefox did not start in {START_LIMIT} s")

    def _ask(self, name, parameters):
        self.number += 1
        text = json.dumps([0, self.number, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, value = self._read()
        assert number == self.number and error is None, f"{name}: {error}"
        return value

    def _read(self):
        """Reads a message: its length, a colon, and JSON."""
        length = b""
        while not length.endswith(b":"):
            length += self._exactly(1)
        return json.loads(self._exactly(int(length[:-1])))

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "Firefox closed the connection"
            data += more
        return data
