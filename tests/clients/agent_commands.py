"""What spice_client.py can do with the guest's agent: clipboards, files, and the size of windows."""

import ctypes
from pathlib import Path

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import Gio, GObject  # noqa: E402

CLIPBOARD = 0  # what was copied; 1 is what is selected


class AgentCommands:
    """A part of spice_client.Client."""

    def listen_to_agent(self, channel):
        self.copied = {}  # what the user of this client has copied, by type
        self.guests_types = []  # what the guest has copied can be had as
        self.pasted = {}  # what came of it, by type
        listen = lambda signal, callback: GObject.Object.connect(channel, signal, callback)  # noqa: E731
        listen("main-clipboard-selection-grab", self._guest_copied)
        listen("main-clipboard-selection-request", self._guest_pastes)
        listen("main-clipboard-selection", self._guest_gave)
        listen("main-clipboard-selection-release", self._guest_released)

    def _guest_copied(self, _channel, selection, types, _count):
        if selection == CLIPBOARD:
            self.guests_types = list(types)
        return True

    def _guest_released(self, _channel, selection):
        if selection == CLIPBOARD:
            self.guests_types = []

    def _guest_pastes(self, channel, selection, kind):
        if selection != CLIPBOARD or kind not in self.copied:
            return False
        channel.clipboard_selection_notify(selection, kind, self.copied[kind])
        return True

    def _guest_gave(self, _channel, selection, kind, data, size):
        if selection == CLIPBOARD:
            self.pasted[kind] = bytes(data) if not isinstance(data, int) else ctypes.string_at(data, size)

    def wait_agent(self, how):
        self.wait(lambda: self.channel("main").props.agent_connected == (how == "on"), f"the agent {how}")

    def wait_agent_caps(self, *bits):
        self.wait(lambda: all(self.channel("main").agent_test_capability(int(bit)) for bit in bits), f"an agent with {bits}")

    def agent_caps(self):
        return {"caps": [bit for bit in range(18) if self.channel("main").agent_test_capability(bit)]}

    def copy(self, kind, path):
        self.copied = {int(kind): Path(path).read_bytes()}
        self.guests_types = []  # the guest's is out of date, and its agent does not say so
        self.channel("main").clipboard_selection_grab(CLIPBOARD, list(self.copied))

    def wait_copied(self, kind):
        self.wait(lambda: int(kind) in self.guests_types, f"something of type {kind} in the guest's clipboard")

    def clipboards(self):
        return {"types": self.guests_types}

    def paste(self, kind, path):
        self.pasted.pop(int(kind), None)
        self.channel("main").clipboard_selection_request(CLIPBOARD, int(kind))
        self.wait(lambda: int(kind) in self.pasted, "the guest's clipboard")
        Path(path).write_bytes(self.pasted[int(kind)])
        return {"size": len(self.pasted[int(kind)])}

    def send(self, *words):
        cancel = words[-1] == "--cancel"
        files = [Gio.File.new_for_path(word) for word in words if word != "--cancel"]
        results, steps = [], []

        def begun(_channel, task):
            GObject.Object.connect(task, "notify::progress", moved)

        def moved(task, _property):
            steps.append(task.props.progress)
            if cancel:
                task.cancel()

        def done(channel, result, *_data):
            try:
                results.append({"sent": channel.file_copy_finish(result)})
            except Exception as error:
                results.append({"sent": False, "refusal": str(error)})
        main = self.channel("main")
        watching = GObject.Object.connect(main, "new-file-transfer", begun)
        main.file_copy_async(files, Gio.FileCopyFlags.NONE, None, None, None, done, None)
        self.wait(lambda: results, "the end of the transfer")
        GObject.Object.disconnect(main, watching)
        return results[0] | {"steps": len(steps)}

    def window(self, width, height, display="0"):
        main, display = self.channel("main"), int(display)
        main.update_display_enabled(display, int(width) > 0, False)
        main.update_display(display, 0, 0, int(width), int(height), False)
        main.send_monitor_config()
