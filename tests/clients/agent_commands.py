"""What spice_client.py can do with the guest's agent: clipboards, files, and the size of windows."""

import ctypes
from pathlib import Path

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import Gio, GObject  # noqa: E402


class AgentCommands:
    """A part of spice_client.Client."""

    def listen_to_agent(self, channel):
        # Each by the number of the clipboard: 0 for what was copied, 1 for what is selected.
        self.copied = {}  # what the user of this client has copied, by type
        self.guests_types = {}  # what the guest has copied can be had as
        self.pasted = {}  # what came of it, by type
        listen = lambda signal, callback: GObject.Object.connect(channel, signal, callback)  # noqa: E731
        listen("main-clipboard-selection-grab", self._guest_copied)
        listen("main-clipboard-selection-request", self._guest_pastes)
        listen("main-clipboard-selection", self._guest_gave)
        listen("main-clipboard-selection-release", self._guest_released)

    def _guest_copied(self, _channel, selection, types, _count):
        self.guests_types[selection] = list(types)
        return True

    def _guest_released(self, _channel, selection):
        self.guests_types.pop(selection, None)

    def _guest_pastes(self, channel, selection, kind):
        content = self.copied.get(selection, {}).get(kind)
        if content is None:
            return False
        channel.clipboard_selection_notify(selection, kind, content)
        return True

    def _guest_gave(self, _channel, selection, kind, data, size):
        content = bytes(data) if not isinstance(data, int) else ctypes.string_at(data, size)
        self.pasted.setdefault(selection, {})[kind] = content

    def wait_agent(self, how):
        self.wait(lambda: self.channel("main").props.agent_connected == (how == "on"), f"the agent {how}")

    def wait_agent_caps(self, *bits):
        self.wait(lambda: all(self.channel("main").agent_test_capability(int(bit)) for bit in bits), f"an agent with {bits}")

    def agent_caps(self):
        return {"caps": [bit for bit in range(18) if self.channel("main").agent_test_capability(bit)]}

    def copy(self, kind, path, selection=0):
        kind, selection = int(kind), int(selection)
        self.copied[selection] = {kind: Path(path).read_bytes()}
        self.guests_types.pop(selection, None)  # the guest's is out of date, and its agent does not say so
        self.channel("main").clipboard_selection_grab(selection, [kind])

    def wait_copied(self, kind, selection=0):
        self.wait(lambda: int(kind) in self.guests_types.get(int(selection), []), f"something of type {kind} in the guest's clipboard")

    def clipboards(self, selection=0):
        return {"types": self.guests_types.get(int(selection), [])}

    def paste(self, kind, path, selection=0):
        """What the guest has; type 0 is nothing."""
        selection = int(selection)
        self.pasted.pop(selection, None)
        self.channel("main").clipboard_selection_request(selection, int(kind))
        self.wait(lambda: self.pasted.get(selection), "the guest's clipboard")
        (found, content), = self.pasted[selection].items()
        if found == int(kind):
            Path(path).write_bytes(content)
        return {"type": found, "size": len(content)}

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
        # As long as it goes on it may take its time: the guest is emulated.
        while not results:
            before = len(steps)
            self.wait(lambda: results or len(steps) > before, "more of the transfer")
        GObject.Object.disconnect(main, watching)
        return results[0] | {"steps": len(steps)}

    def window(self, width, height, display="0", width_mm="0", height_mm="0"):
        main, display = self.channel("main"), int(display)
        main.update_display_enabled(display, int(width) > 0, False)
        main.update_display_mm(display, int(width_mm), int(height_mm), False)
        main.update_display(display, 0, 0, int(width), int(height), False)
        main.send_monitor_config()
