"""Keys and pointer, read back inside the guest from its input devices."""

import time

from rig import Skip
from stall import stalled

KEY, RELATIVE, ABSOLUTE = 1, 2, 3  # event types of <linux/input-event-codes.h>
KEYS = {  # scancode a client sends: code the guest's keyboard driver reports
    "1e": 30, "39": 57, "1c": 28, "3b": 59, "58": 88, "2a": 42, "56": 86,
    "11d": 97, "138": 100, "11c": 96, "135": 98, "147": 102, "148": 103, "149": 104, "14b": 105, "14d": 106,
    "14f": 107, "150": 108, "151": 109, "152": 110, "153": 111, "15b": 125, "15d": 127,
}
BUTTONS_AND_WHEEL = {8, *range(272, 280)}
TABLET = "QEMU_Virtio_Tablet"


def typed_keys(rig):
    """typed keys arrive as themselves, extended ones too"""
    vm = rig.vm()
    client = _ready(rig, vm)
    vm.stage("events on")
    wanted = []
    for scancode, code in KEYS.items():
        client(f"key {scancode}")
        wanted += [(KEY, code, 1), (KEY, code, 0)]
        # One after the other, as a person types: a PC's keyboard controller keeps 16 bytes at most.
        _expect(vm, wanted, kinds={KEY})


def held_keys(rig):
    """keys stay down until they are let go, several at once"""
    vm = rig.vm()
    client = _ready(rig, vm)
    vm.stage("events on")
    for command in ("key 1d down", "key 38 down", "key 13b down", "key 13b up", "key 38 up", "key 1d up"):
        client(command.replace("13b", "3b"))
    _expect(vm, [(KEY, 29, 1), (KEY, 56, 1), (KEY, 59, 1), (KEY, 59, 0), (KEY, 56, 0), (KEY, 29, 0)], kinds={KEY})


def keys_of_a_client_that_left(rig):
    """a key that was down when its client left is let go"""
    vm = rig.vm()
    client = _ready(rig, vm)
    vm.stage("events on")
    client("key 2a down")
    _expect(vm, [(KEY, 42, 1)], kinds={KEY})
    client("sleep 100")
    client.stop()
    _expect(vm, [(KEY, 42, 1), (KEY, 42, 0)], kinds={KEY})


def absolute_pointer(rig):
    """the pointer goes where the client's is, to the pixel"""
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-mouse-mode client")
    for x, y in ((0, 0), (640, 360), (1279, 719), (13, 700)):
        # From elsewhere, as the guest reports only what changes; seen there first, as of places that wait only the last counts.
        for to in ((333, 222), (x, y)):
            vm.stage("events on")
            client("position {} {}".format(*to))
            vm.events(lambda events, to=to: _place(events) == to)


def pointer_beyond_the_edge(rig):
    """a position outside the screen is taken to its edge"""
    rig.needs_program()
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-mouse-mode client")
    client("position 100 100")
    vm.stage("events on")
    client("position 5000 4000")
    vm.events(lambda events: _place(events) == (1279, 719))


def buttons_and_wheel(rig):
    """buttons and wheel arrive, in both pointer modes"""
    vm = rig.vm()
    client = _ready(rig, vm)
    for mode in ("client", "server"):
        vm.absolute_pointer(mode == "client")
        client(f"wait-mouse-mode {mode}")
        vm.stage("events on")
        wanted = []
        for button, code in ((1, 272), (2, 274), (3, 273)):
            client(f"button {button}")
            wanted += [(KEY, code, 1), (KEY, code, 0)]
            _expect(vm, wanted, kinds={KEY, RELATIVE}, of=BUTTONS_AND_WHEEL)
        for button, notch in ((4, 1), (5, -1)):
            client(f"button {button}")
            wanted.append((RELATIVE, 8, notch))
            _expect(vm, wanted, kinds={KEY, RELATIVE}, of=BUTTONS_AND_WHEEL)


def side_buttons(rig):
    """the side and extra buttons arrive"""
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-mouse-mode client")
    vm.stage("events on")
    client("button 6")
    client("button 7")
    _expect(vm, [(KEY, 275, 1), (KEY, 275, 0), (KEY, 276, 1), (KEY, 276, 0)], kinds={KEY})


def relative_pointer(rig):
    """movements arrive in full when the guest has only a mouse"""
    vm = rig.vm()
    client = _ready(rig, vm)
    vm.absolute_pointer(False)
    client("wait-mouse-mode server")
    vm.stage("events on")
    # More than the eight movements a client sends ahead of their acknowledgement; in small groups,
    # for what a PC's mouse controller can hold.
    for group in range(1, 6):
        for _ in range(4):
            client("motion 5 -3")
        vm.events(lambda events, group=group: _moved(events) == (20 * group, -12 * group))


def many_positions(rig):
    """a long drag is not stuck for want of acknowledgements"""
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-mouse-mode client")
    vm.stage("events on")
    # More than the eight places a client sends ahead of their acknowledgement; in groups that the guest's
    # tablet can hold, 21, while the guest does not run.
    for group in range(4):
        for step in range(15):
            x = 100 + group * 150 + step * 10
            client(f"position {x} 200")
        vm.events(lambda events, x=x: _place(events, y=200) == (x, 200))


def a_drag_while_the_guest_does_not_run(rig):
    """what a fast pointer does while the guest does not run is not lost"""
    rig.needs_program()
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-mouse-mode client")
    vm.stage("events on")
    x = 100
    client(f"position {x} 200")
    client("button 1 down")
    try:
        with stalled(vm.processor_thread()):
            # More places than the tablet holds, at the pace of a fast mouse; for no longer, if this machine is slow: in that
            # time the tablet gets no more of them than it holds.
            until = time.monotonic() + 0.06
            while time.monotonic() < until:
                x += 1
                client(f"position {x} 200")
                time.sleep(0.001)
            client("button 1 up")
            time.sleep(0.02)  # on its way to QEMU, which has to get it while the guest does not run
    except PermissionError as error:
        raise Skip(f"a guest cannot be held up here: {error}") from error
    vm.events(lambda events: _place(events, y=200) == (x, 200) and (KEY, 272, 0) in {event[1:] for event in events})


def lock_keys(rig):
    """lock keys: the client hears of the guest's lights, and can ask for a state"""
    vm = rig.vm()
    client = _ready(rig, vm)
    client("wait-leds 0")
    client("key 3a")
    client("wait-leds 4")
    assert vm.stage("leds") == ["leds num=0 caps=1 scroll=0"]
    client("leds 2")
    client("wait-leds 2")
    assert vm.stage("leds") == ["leds num=1 caps=0 scroll=0"]
    client("leds 0")
    client("wait-leds 0")
    assert vm.stage("leds") == ["leds num=0 caps=0 scroll=0"]


def pause_and_print(rig):
    """Pause and Print arrive as themselves"""
    vm = rig.vm()
    client = _ready(rig, vm)
    vm.stage("events on")
    wanted = []
    for scancode, code in (("146", 119), ("54", 99), ("137", 99)):
        client(f"key {scancode}")
        wanted += [(KEY, code, 1), (KEY, code, 0)]
        _expect(vm, wanted, kinds={KEY})


def _ready(rig, vm):
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    return client


def _place(events, x=None, y=None):
    """Where the tablet was last, in pixels of 1280x720; `x` and `y` stand in for what was not reported."""
    for name, kind, code, value in events:
        if kind == ABSOLUTE and name == TABLET and code == 0:
            x = round(value * 1280 / 32768)
        if kind == ABSOLUTE and name == TABLET and code == 1:
            y = round(value * 720 / 32768)
    return x, y


def _moved(events):
    """How far the mouse moved in all."""
    return tuple(sum(value for _, kind, code, value in events if kind == RELATIVE and code == axis) for axis in (0, 1))


def _expect(vm, wanted, kinds, of=None):
    """The guest's devices report exactly these (type, code, value), in order, and nothing more of these kinds."""
    def seen(events):
        # Value 2 is a held key's own repetition.
        return [event[1:] for event in events if event[1] in kinds and (of is None or event[2] in of) and event[3] != 2]
    found = seen(vm.events(lambda events: len(seen(events)) >= len(wanted)))
    assert found == wanted, f"wanted {wanted}, the guest got {found}"
