"""The guest's pointer shape."""


def shape(rig):
    """the guest's cursor reaches the client, with its hot spot"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    vm.stage("cursor arrow 200 100")
    client("wait-cursor shaped")
    _expect(client, {"width": 64, "height": 64, "hot": [0, 0], "opaque": 300})
    vm.stage("cursor cross 200 100")
    client("sleep 300")
    _expect(client, {"width": 64, "height": 64, "hot": [15, 15], "opaque": 177})


def hidden(rig):
    """a cursor the guest hides is hidden, and comes back"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    vm.stage("cursor arrow 200 100")
    client("wait-cursor shaped")
    vm.stage("cursor off 0 0")
    client("wait-cursor hidden")
    vm.stage("cursor arrow 300 100")
    client("wait-cursor shaped")


def of_a_late_client(rig):
    """a client that joins later has the cursor too"""
    vm = rig.vm()
    server = rig.serve(vm)
    vm.stage("cursor arrow 200 100")
    client = rig.client(server)
    client("wait-picture")
    client("wait-cursor shaped")
    _expect(client, {"width": 64, "height": 64, "hot": [0, 0], "opaque": 300})


def not_in_the_picture(rig):
    """the cursor is no part of the picture"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    vm.stage("cursor cross 640 360")
    client("wait-cursor shaped")
    rig.same_picture(vm, client)


def _expect(client, wanted):
    shape = client("cursor")["shape"]
    assert shape == wanted, f"wanted {wanted}, the client has {shape}"
