"""Peers that aren't ours against the program: the mllp_send and the asyncio server of PyPI's hl7,
length-prefixed clients and servers of a few lines, and lines by nc and socat.

    meet.py PROGRAM FOLDER-OF-mllp_send
"""

import asyncio
import json
import os
import struct
import subprocess
import sys
import tempfile

import hl7
import hl7.mllp

COUNT = 1_000
PROGRAM, FOLDER = sys.argv[1:]


class Serve:
    """`millpond serve` on a free port."""

    def __init__(self, framing):
        self.command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--json", "--framing", framing]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                return int(event["endpoint"].rsplit(":", 1)[1])
        raise SystemExit("millpond serve doesn't listen: " + self.process.stderr.read())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=30)


def call(port, framing, bodies, *flags):
    """The replies to these requests by `millpond call -`, as bytes."""
    lines = "".join(body.hex() + "\n" for body in bodies)
    command = [PROGRAM, "call", "--to", f"127.0.0.1:{port}", "--framing", framing, "--hex", *flags, "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr}\n{done.stdout[-500:]}")
    return [bytes.fromhex(line) for line in done.stdout.splitlines()]


def message(number):
    return (
        "MSH|^~\\&|HIS|WARD|LAB|EAST|20260102||ADT^A01^ADT_A01|"
        f"ID{number}|P|2.5\rPID|1||{number}||{'x' * (number % 300)}\r"
    ).encode()


def acknowledged(body):
    segments = body.replace(b"\n", b"\r").split(b"\r")
    (msa,) = [segment for segment in segments if segment.startswith(b"MSA|")]
    code, control_id = msa.split(b"|")[1:3]
    assert code == b"AA", msa
    return control_id.decode()


IDS = [f"ID{number}" for number in range(COUNT)]


def mllp_send_to_serve():
    with Serve("mllp") as port, tempfile.NamedTemporaryFile() as file:
        for number in range(COUNT):
            file.write(b"\x0b" + message(number) + b"\x1c\x0d")
        file.flush()
        command = [os.path.join(FOLDER, "mllp_send"), "--port", str(port), "--file", file.name, "127.0.0.1"]
        done = subprocess.run(command, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        blocks = [block for block in done.stdout.split(b"\x0b") if b"MSA|" in block]
        got = [acknowledged(block.split(b"\x1c")[0]) for block in blocks]
    assert got == IDS, got[:10]


async def call_to_hl7_server(flags):
    async def answer(reader, writer):
        try:
            while not writer.is_closing():
                request = await reader.readmessage()
                ack = str(request.create_ack()).encode()
                block = b"\x0b" + ack + b"\x1c\x0d"
                # In two pieces, at any byte.
                cut = hash(ack) % len(block)
                writer.write(block[:cut])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(block[cut:])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await hl7.mllp.start_hl7_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        messages = [message(number) for number in range(COUNT)]
        replies = await asyncio.to_thread(call, port, "mllp", messages, *flags)
    assert [acknowledged(reply) for reply in replies] == IDS


async def length_prefixed_to_serve():
    with Serve("length-prefixed") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bodies = [os.urandom(number % 700 + 1) for number in range(COUNT)]
        wire = b"".join(struct.pack(">I", len(body)) + body for body in bodies)

        async def send():
            # In pieces that have nothing to do with the frames.
            for at in range(0, len(wire), 777):
                writer.write(wire[at : at + 777])
                await writer.drain()

        sending = asyncio.create_task(send())
        for body in bodies:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            assert await reader.readexactly(length) == body
        await sending
        writer.close()


async def call_to_length_prefixed(flags):
    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(struct.unpack(">I", head)[0])
                writer.write(head + body[::-1])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        bodies = [os.urandom(number % 700 + 1) for number in range(COUNT)]
        replies = await asyncio.to_thread(call, port, "length-prefixed", bodies, *flags)
    assert replies == [body[::-1] for body in bodies]


def lines_to_serve():
    lines = "".join(f"line {number}\n" for number in range(COUNT))
    with Serve("delimited") as port:
        for command in (
            ["nc", "-N", "127.0.0.1", str(port)],
            ["socat", "-t", "30", "-", f"TCP:127.0.0.1:{port}"],
        ):
            done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60)
            assert done.stdout == lines, (command, done.stdout[:200], done.stderr)


def call_to_socat(flags):
    command = ["socat", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork,reuseaddr", "EXEC:cat"]
    socat = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in socat.stderr:
            if "listening on" in line:
                port = line.rsplit(":", 1)[1].strip()
                break
        bodies = [f"line {number}".encode() for number in range(COUNT)]
        assert call(port, "delimited", bodies, *flags) == bodies
    finally:
        socat.terminate()
        socat.communicate(timeout=30)


def main():
    both = [[], ["--pipelined"]]
    print(f"hl7 {hl7.__version__}, {COUNT} messages each")
    meetings = [
        ("mllp_send to serve", lambda _: mllp_send_to_serve(), [[]]),
        ("call to hl7's asyncio server", lambda flags: asyncio.run(call_to_hl7_server(flags)), both),
        ("a length-prefixed client to serve", lambda _: asyncio.run(length_prefixed_to_serve()), [[]]),
        ("call to a length-prefixed server", lambda flags: asyncio.run(call_to_length_prefixed(flags)), both),
        ("nc and socat to serve", lambda _: lines_to_serve(), [[]]),
        ("call to socat", call_to_socat, both),
    ]
    for name, meet, modes in meetings:
        for flags in modes:
            meet(flags)
            print(f"{name} {' '.join(flags)}".rstrip() + ": all right")


main()
