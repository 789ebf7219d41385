"""What a tunnel does to connections: `tunnel.py HERE:PORT THERE:PORT` takes them at one address and makes one to the
other for each. Like ssh it takes a megabyte before it lets the sender wait. THERE may be `@NAME`, a unix socket without a
file. Prints `ready` when it listens."""

import asyncio
import sys

AHEAD = 1024 * 1024  # bytes


async def main(here, there):
    async def serve(reader, writer):
        if there.startswith("@"):
            far_reader, far_writer = await asyncio.open_unix_connection(there.replace("@", "\0", 1))
        else:
            far_reader, far_writer = await asyncio.open_connection(*there.rsplit(":", 1))
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
    server = await asyncio.start_server(serve, *here.rsplit(":", 1))
    print("ready", flush=True)
    await server.serve_forever()


async def pass_on(reader, writer):
    writer.transport.set_write_buffer_limits(high=AHEAD)
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
