"""Chromium without a window, driven by Debian's chromedriver over the WebDriver protocol."""

import base64
import json
import random
import subprocess
import urllib.request


class Browser:
    """One page. `script` runs a function's body in it, `keys` types, `close` ends it. What the page asks for is logged if it is
    `traced`, each message of a WebSocket included."""

    def __init__(self, log, flags=(), traced=True):
        port = next(filter(None, (self._start(log) for _ in range(10))), None)
        assert port, f"chromedriver did not start; see {log.name}"
        self.base = f"http://127.0.0.1:{port}/session"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors",
                     "--window-size=1400,1000", *flags]
        capabilities = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments, "binary": "/usr/bin/chromium"},
                        "goog:loggingPrefs": {"browser": "ALL"} | ({"performance": "ALL"} if traced else {}), "unhandledPromptBehavior": "dismiss"}
        session = self._post("", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += f"/{session['sessionId']}"

    def _start(self, log):
        """Starts the driver; returns its port, or None if that is taken, for IPv4 or IPv6. The port is none of those that the
        kernel gives to connections: after thousands of them most are taken for a minute, and one that it chooses is no better."""
        port = random.randrange(20_000, 32_000)
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=log, text=True)
        for line in self.driver.stdout:
            if "started successfully" in line:
                return port
        self.driver.wait()
        self.driver.stdout.close()
        return None

    def open(self, url):
        self._post("/url", {"url": url})

    def script(self, body):
        return self._post("/execute/sync", {"script": body, "args": []})

    def key(self, text):
        """Presses and releases one key where the pointer is."""
        press = [{"type": "keyDown", "value": text}, {"type": "keyUp", "value": text}]
        self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": press}]})

    def point(self, x, y):
        """Moves the pointer to a place of the page."""
        move = [{"type": "pointerMove", "x": x, "y": y, "duration": 0}]
        self._post("/actions", {"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": move}]})

    def canvas(self, selector):
        """The pixels of a canvas as the bytes of a PNG; None while there is none."""
        url = self.script(f"const c = document.querySelector({json.dumps(selector)}); return c && c.toDataURL('image/png')")
        return url and base64.b64decode(url.partition(",")[2])

    def command(self, name, **parameters):
        """A command of Chromium's own protocol, for what WebDriver has none: keys by their place, the clock, media queries."""
        return self._post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def press(self, code, key="", down=True):
        """Presses, or releases, the key in this place of the keyboard (`KeyboardEvent.code`)."""
        self.command("Input.dispatchKeyEvent", type="rawKeyDown" if down else "keyUp", code=code, key=key or code)

    def log(self, kind="browser"):
        """What was logged since it was asked for last."""
        return self._post("/se/log", {"type": kind})

    def screenshot(self):
        """The page as a PNG."""
        with urllib.request.urlopen(self.base + "/screenshot", timeout=60) as answer:
            return base64.b64decode(json.load(answer)["value"])

    def stop(self):
        try:
            urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE"), timeout=20).read()
        finally:
            self.driver.terminate()
            self.driver.wait(20)
            self.driver.stdout.close()

    def _post(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"chromedriver: {json.load(error)['value']['message'][:300]}") from None
