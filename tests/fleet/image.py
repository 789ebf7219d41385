#!/usr/bin/python3
"""Unpacks the container image and uses it as a container would: `image.py --image FILE --folder FOLDER`. Needs root, for a
root folder of its own that is read-only and a user without rights. Prints `N passed, N failed, N skipped` at the end."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machines import Fleet, Viewers, make_player, until

# What makes the root folder $1 read-only, but for /tmp, and becomes the rest of the command there as user $2.
ENTER = """mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/tmp" &&
mount --rbind /dev "$1/dev" && root=$1 user=$2 && shift 2 && exec /usr/sbin/chroot --userspec="$user" "$root" "$@" """


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, type=Path)
    parser.add_argument("--folder", required=True, type=Path)
    settings = parser.parse_args()
    root, config = unpack(settings.image, settings.folder)
    container = lambda *words: ["env", "-i", *config["Env"], "unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh",  # noqa: E731
                                str(root), config["User"], *config["Entrypoint"], *words]
    tests = ((says_its_version, settings), (has_encoders, settings), (has_no_shell, root), (shows_a_picture, (settings, config["User"])))
    failed = 0
    for test, about in tests:
        began, word, told = time.monotonic(), "ok", ""
        try:
            test(container, about)
        except Exception as error:
            word, told, failed = "FAIL", f"\n       {error}", failed + 1
        print(f"{word:4} {time.monotonic() - began:6.1f} s  image: {test.__doc__}{told}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


def unpack(image, folder):
    """Follows the archive's own tables, as those who load it do; returns the root folder and how it wants to be run."""
    archive, root = folder / "archive", folder / "root"
    for made in (archive, root):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
    subprocess.run(["tar", "-xf", image, "-C", archive], check=True)
    blob = lambda digest: archive / "blobs" / digest.replace(":", "/")  # noqa: E731
    read = lambda path: json.loads(path.read_text())  # noqa: E731
    manifest = read(blob(read(archive / "index.json")["manifests"][0]["digest"]))
    of_docker = read(archive / "manifest.json")[0]
    assert blob(manifest["config"]["digest"]) == archive / of_docker["Config"]
    assert [blob(layer["digest"]) for layer in manifest["layers"]] == [archive / layer for layer in of_docker["Layers"]]
    for layer in manifest["layers"]:
        subprocess.run(["tar", "-xzpf", blob(layer["digest"]), "-C", root], check=True)
    return root, read(blob(manifest["config"]["digest"]))["config"]


def says_its_version(container, settings):
    """the program starts, and says its version"""
    assert told(container("--version")).startswith("qemu-spice ")


def has_encoders(container, settings):
    """H.264, VP8 and Motion JPEG are encoded in it"""
    said = told(container("probe"))
    for encoder in ("x264enc", "vp8enc", "jpegenc"):
        line = next((line for line in said.splitlines() if encoder in line), "not named")
        assert "works" in line, f"{encoder}: {line}"


def has_no_shell(container, root):
    """nothing in it is a shell or a package manager, and nothing may be done as somebody else"""
    names = {path.name for path in root.rglob("*") if not path.is_dir()}
    assert not names & {"sh", "bash", "dash", "busybox", "apt", "dpkg", "su", "mount"}
    assert not [path for path in root.rglob("*") if path.is_file() and path.stat().st_mode & 0o6000]


def shows_a_picture(container, about):
    """beside a machine it shows a viewer the picture, with a root folder that is read-only"""
    settings, user = about
    player = make_player(settings.folder)
    with tempfile.TemporaryDirectory(prefix="image-") as sockets, \
            Fleet(1, Path(sockets), settings.folder, container(), *player) as fleet:
        machine = fleet.machines[0]
        machine.number, machine.user = 4711, int(user.split(":")[0])
        until(fleet.listens, "the scripted QEMU to listen", 20)
        os.chmod(sockets, 0o755)
        os.chmod(machine.path, 0o777)
        fleet.start()
        fleet.draw()
        fleet.viewers = Viewers(fleet.machines, exact=True)
        until(lambda: fleet.viewers.all[0].number == 4711, "the picture", 20)
        assert fleet.end()[0] == [0]


def told(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-600:]}"
    return done.stdout


if __name__ == "__main__":
    main()
