"""What a monitoring system reads, by the parser of Prometheus' own Python library."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as families

from rig import eventually

SILENT = 20  # connections that say nothing: more than are answered at a time


def numbers(rig):
    """/metrics tells of viewers, pictures, bytes, the guest and who was refused, and /readyz of a machine"""
    rig.needs_program()
    vm = rig.vm()
    secret = rig.fresh("password", ".txt")
    secret.write_text("open sesame\n")
    server = rig.serve(vm, "--metrics-addr", "127.0.0.1:0", "--password-file", str(secret))
    assert _get(server, "readyz") == "serving a virtual machine\n" and _get(server, "healthz") == "running\n"
    before = _samples(server)
    assert before["qemu_spice_attached"] == 1 and before["qemu_spice_clients"] == 0, before
    client = rig.client(server, password="open sesame")
    rig.same_picture(vm, client)
    rig.client(server, password="wrong")("wait-event main error-auth")
    vm.stage("animate 20 20")
    rig.same_picture(vm, client)
    told = _samples(server)
    viewers = [(labels, count) for (name, *labels), count in _labelled(server) if name == "qemu_spice_viewers"]
    assert len(viewers) == 1 and ("delivery", "Encode(h264)") in viewers[0][0] and viewers[0][1] == 1, viewers
    assert told["qemu_spice_clients"] == 1 and told["qemu_spice_logins_total"] == 1, told
    for name in ("pictures_sent", "encoded_frames", "encoded_key_frames", "encoded_bytes", "encode_seconds", "sent_bytes",
                 "received_bytes", "refused"):
        assert told[f"qemu_spice_{name}_total"] > 0, (name, told)
    assert told["qemu_spice_sent_bytes_total"] > told["qemu_spice_encoded_bytes_total"], told
    client("leave")
    eventually(lambda: _samples(server)["qemu_spice_clients"] == 0, "the client to be gone")
    after = _samples(server)
    assert after["qemu_spice_pictures_sent_total"] >= told["qemu_spice_pictures_sent_total"], "forgotten with the viewer"


def strangers(rig):
    """whoever says nothing, or too much, is left after a while, and the numbers are there all the same"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, "--metrics-addr", "127.0.0.1:0")
    place = ("127.0.0.1", int(_url(server).rsplit(":", 1)[1].strip("/")))
    silent = [socket.create_connection(place, timeout=30) for _ in range(SILENT)]
    assert _samples(server)["qemu_spice_attached"] == 1
    for peer in silent:
        assert peer.recv(1) == b"", "an answer to nothing"
    with socket.create_connection(place, timeout=30) as peer:
        try:
            peer.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X-Long: " + b"x" * 100_000)
            assert b"431" in peer.recv(100)
        except ConnectionError:
            pass  # it was closed before all was said
    for path, status in (("", 404), ("metrics/../healthz", 404)):
        try:
            _get(server, path)
            raise AssertionError(f"/{path} is there")
        except urllib.error.HTTPError as error:
            assert error.code == status, error
    rig.same_picture(vm, rig.client(server))


def health(rig):
    """/readyz is 503 until there is a machine, /healthz is well meanwhile, and a program that hangs does not answer"""
    rig.needs_program()
    server = rig.start("--wait", "--qmp", rig.fresh("none", ".sock"), "--spice-addr", "none", "--metrics-addr", "127.0.0.1:0")
    eventually(lambda: "numbers for a monitoring system" in server.errors(), "an address")
    assert _get(server, "healthz") == "running\n"
    try:
        raise AssertionError(_get(server, "readyz"))
    except urllib.error.HTTPError as error:
        assert error.code == 503 and error.read() == b"waiting for a virtual machine\n", error
    server.process.send_signal(signal.SIGSTOP)
    try:
        raise AssertionError(urllib.request.urlopen(_url(server) + "healthz", timeout=1).read())
    except (TimeoutError, urllib.error.URLError):
        pass
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert _get(server, "healthz") == "running\n"


def json_lines(rig):
    """each line of --log-format json parses; those of logins, ends and refusals have their fields"""
    rig.needs_program()
    vm = rig.vm()
    secret = rig.fresh("password", ".txt")
    secret.write_text("open sesame\n")
    config = rig.fresh("config", ".toml")
    config.write_text('log-format = "json"\n')
    server = rig.serve(vm, "--config", str(config), "--password-file", str(secret))
    client = rig.client(server, password="open sesame")
    client("wait-picture")
    rig.client(server, password="wrong")("wait-event main error-auth")
    client("leave")
    lines = eventually(lambda: (lines := _json(server)) and {"login", "end", "refusal"} <= lines.keys() and lines, "three events")
    login, end, refusal = (lines[event][0] for event in ("login", "end", "refusal"))
    for line in (line for lines in lines.values() for line in lines):
        assert {"timestamp", "level", "message"} <= line.keys(), line
    assert login["client"] == end["client"] and login["peer"] == end["peer"] and login["peer"].startswith("127.0.0.1:"), login
    assert login["by"] == "the password" and login["rights"] == "use" and login["clients"] == 1 and login["transport"] == "tcp", login
    assert end["seconds"] >= 0 and end["clients"] == 0 and end["reason"], end
    assert refusal["reason"] == "wrong-password" and refusal["error"] and refusal["channel"] == "main:0", refusal


def _json(server):
    """The lines of its log, by their event."""
    lines = {}
    for line in server.errors().splitlines():
        line = json.loads(line)
        lines.setdefault(line.get("event"), []).append(line)
    return lines


def _labelled(server):
    for family in families(_get(server, "metrics")):
        for sample in family.samples:
            yield (sample.name, *sorted(sample.labels.items())), sample.value


def _samples(server):
    """Each number by its name, those of all labels added up."""
    sums = {}
    for (name, *_), value in _labelled(server):
        sums[name] = sums.get(name, 0) + value
    return sums


def _get(server, path):
    return urllib.request.urlopen(_url(server) + path, timeout=30).read().decode()


def _url(server):
    return re.search(r'numbers for a monitoring system address="([^"]+)"', server.errors()).group(1)
