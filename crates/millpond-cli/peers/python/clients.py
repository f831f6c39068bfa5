"""Programs that aren't ours, unchanged, through `millpond proxy`: the published Node client, PyPI's
hl7 and pymodbus on both sides, socat, curl. Every reply is checked, and the upstream counts its
connections. Then the recipes of docs/recipes.md, on the ports of that page.

    clients.py PROGRAM FOLDER-OF-mllp_send FOLDER-OF-proxied.js
"""

import asyncio
import http.server
import json
import os
import re
import socketserver
import subprocess
import sys
import tempfile
import threading

import hl7
import hl7.client
import hl7.mllp
import pymodbus
import pymodbus.client
import pymodbus.datastore
import pymodbus.server

PROGRAM, FOLDER, NODE = sys.argv[1:]


class Millpond:
    """A command of the program that listens on a free port: `with` gives the port."""

    def __init__(self, *arguments):
        self.command = [PROGRAM, *arguments, "--listen", "127.0.0.1:0", "--json"]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                self.port = int(event["endpoint"].rsplit(":", 1)[1])
                return self
        raise SystemExit(f"{self.command} doesn't listen: {self.process.stderr.read()}")

    def __exit__(self, failure, *_):
        """Drains it; its last event is in `drained`."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=60)
        self.drained = json.loads(out.splitlines()[-1])
        if self.process.returncode != 0 and failure is None:
            raise SystemExit(f"{self.command} ended with {self.process.returncode}: {out}{err}")


def proxy(framing, to, max_size):
    return Millpond(
        "proxy", "--framing", framing, "--to", f"127.0.0.1:{to}", "--max-size", str(max_size), "--wait", "60s"
    )


class Connections:
    """How many there are, and what the most was that there were at once."""

    def __init__(self):
        self.lock, self.now, self.most, self.total = threading.Lock(), 0, 0, 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


def within(connections, most):
    assert 1 <= connections.most <= most, f"{connections.most} upstream connections at once, not {most}"
    return f"{connections.total} upstream connections, {connections.most} at once of {most}"


def run(command, **more):
    done = subprocess.run(command, capture_output=True, timeout=300, **more)
    assert done.returncode == 0, (command[:3], done.returncode, done.stderr[-2_000:], done.stdout[-500:])
    return done.stdout


def node_client():
    requests, callers = 20_000, 64
    with Millpond("serve", "--handler", "reference") as upstream:
        with proxy("length-json", upstream.port, 4) as route:
            command = ["node", os.path.join(NODE, "proxied.js"), route.port, requests, callers]
            seen = json.loads(run([str(part) for part in command]))
    assert (seen["right"], seen["wrong"]) == (requests, 0), seen
    accepted = upstream.drained["server"]["totals"]["accepted"]
    assert 1 <= accepted <= 4, accepted
    clients = route.drained["server"]["totals"]["accepted"]
    return f"{requests} replies; {clients} clients, {accepted} upstream connections of 4"


def message(name):
    return f"MSH|^~\\&|HIS|WARD|LAB|EAST|20260102||ADT^A01^ADT_A01|{name}|P|2.5\rPID|1||{name}\r"


def acknowledged(text):
    (msa,) = [segment for segment in text.replace("\n", "\r").split("\r") if segment.startswith("MSA|")]
    code, control_id = msa.split("|")[1:3]
    assert code == "AA", msa
    return control_id


async def hl7_both_sides():
    connections = Connections()

    async def answer(reader, writer):
        with connections:
            try:
                while not writer.is_closing():
                    request = await reader.readmessage()
                    writer.writemessage(request.create_ack())
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionResetError):
                pass
            finally:
                writer.close()

    def short_client(port, number):
        """A connection for each message, as an interface engine makes it."""
        for turn in range(10):
            with hl7.client.MLLPClient("127.0.0.1", port) as client:
                reply = client.send_message(message(f"S{number}-{turn}"))
            text = reply.decode().strip("\x0b\x1c\r")
            assert acknowledged(text) == f"S{number}-{turn}", reply

    def sending(port, count=1_000):
        with tempfile.NamedTemporaryFile() as file:
            for number in range(count):
                file.write(b"\x0b" + message(f"ID{number}").encode() + b"\x1c\x0d")
            file.flush()
            command = [os.path.join(FOLDER, "mllp_send"), "--port", str(port), "--file", file.name, "127.0.0.1"]
            out = run(command)
        blocks = [block for block in out.split(b"\x0b") if b"MSA|" in block]
        got = [acknowledged(block.split(b"\x1c")[0].decode()) for block in blocks]
        assert got == [f"ID{number}" for number in range(count)], got[:10]

    def clients(to):
        with proxy("mllp", to, 3) as route:
            in_threads([lambda number=number: short_client(route.port, number) for number in range(30)])
            sending(route.port)

    server = await hl7.mllp.start_hl7_server(answer, "127.0.0.1", 0)
    async with server:
        await asyncio.to_thread(clients, server.sockets[0].getsockname()[1])
    return f"1300 acknowledgments; {within(connections, 3)}"


class Device:
    """pymodbus' server with 1,000 registers on a free port, or on this one: `with` gives the port."""

    def __init__(self, port=0):
        self.port, self.connections, self.loop = port, Connections(), asyncio.new_event_loop()

    def __enter__(self):
        started = threading.Event()

        async def serve():
            registers = pymodbus.datastore.ModbusSequentialDataBlock(1, [0] * 1_000)
            device = pymodbus.datastore.ModbusDeviceContext(hr=registers)
            context = pymodbus.datastore.ModbusServerContext(devices=device, single=True)
            server = pymodbus.server.ModbusTcpServer(
                context, address=("127.0.0.1", self.port), trace_connect=self.counted
            )
            await server.serve_forever(background=True)
            self.port = server.transport.sockets[0].getsockname()[1]
            self.server = server
            started.set()

        def run_loop():
            asyncio.set_event_loop(self.loop)
            self.loop.create_task(serve())
            self.loop.run_forever()

        threading.Thread(target=run_loop, daemon=True).start()
        assert started.wait(30), "pymodbus' server doesn't listen"
        return self

    def counted(self, has_come):
        if has_come:
            self.connections.__enter__()
        else:
            self.connections.__exit__()

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.server.shutdown(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)


def modbus_masters():
    masters, turns = 50, 20

    def master(port, number):
        for turn in range(turns):
            # A connection for each turn, and registers of its own.
            with pymodbus.client.ModbusTcpClient("127.0.0.1", port=port, timeout=60, retries=0) as client:
                values = [number, turn, number * turn]
                written = client.write_registers(number * 10, values)
                assert not written.isError(), written
                read = client.read_holding_registers(number * 10, count=3)
                assert not read.isError() and read.registers == values, (read, values)
                beyond = client.read_holding_registers(2_000, count=1)
                assert beyond.isError() and beyond.exception_code == 2, beyond

    def reads_only(port):
        with pymodbus.client.ModbusTcpClient("127.0.0.1", port=port, timeout=60, retries=0) as client:
            assert client.read_holding_registers(10, count=1).registers == [1]
            refused = client.write_registers(10, [7])
            assert refused.isError() and refused.exception_code == 1, refused
            assert client.read_holding_registers(10, count=1).registers == [1]

    with Device() as device:
        with proxy("modbus", device.port, 1) as route:
            in_threads([lambda number=number: master(route.port, number) for number in range(masters)])
        with proxy("modbus = { read_only = true }", device.port, 1) as route:
            reads_only(route.port)
    # Nobody is there any more.
    with proxy("modbus", device.port, 1) as route:
        with pymodbus.client.ModbusTcpClient("127.0.0.1", port=route.port, timeout=60, retries=0) as client:
            told = client.read_holding_registers(0, count=1)
            assert told.isError() and told.exception_code == 10, told
    with Millpond("serve", "--framing", "modbus") as upstream:
        with pymodbus.client.ModbusTcpClient("127.0.0.1", port=upstream.port, timeout=60, retries=0) as client:
            assert client.read_coils(3, count=11).bits[:11] == [False] * 11
            assert not client.mask_write_register(address=4, and_mask=1, or_mask=2).isError()
            assert client.readwrite_registers(read_address=1, read_count=2, address=3, values=[4]).registers == [0, 0]
    return f"{3 * masters * turns} exchanges of {masters} masters; {within(device.connections, 1)}"


def in_threads(jobs):
    """All at once; the first that fails is raised."""
    failures = []

    def kept(job):
        try:
            job()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=kept, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def socat_lines():
    connections = Connections()

    class Reversing(socketserver.StreamRequestHandler):
        def handle(self):
            with connections:
                for line in self.rfile:
                    self.wfile.write(line.rstrip(b"\n")[::-1] + b"\n")

    def client(port, number):
        lines = [f"client {number} line {line}" for line in range(20)]
        said = "".join(line + "\n" for line in lines).encode()
        heard = run(["socat", "-t", "60", "-", f"TCP:127.0.0.1:{port}"], input=said)
        assert heard.decode().splitlines() == [line[::-1] for line in lines], heard

    with Server(("127.0.0.1", 0), Reversing) as server:
        with proxy("delimited", serving(server), 4) as route:
            in_threads([lambda number=number: client(route.port, number) for number in range(40)])
        server.shutdown()
    return f"800 lines of 40 clients; {within(connections, 4)}"


def curl_through_raw():
    kept, closed = Connections(), Connections()

    def handler(connections):
        class Echo(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self):
                with connections:
                    super().handle()

            def do_GET(self):
                body = f"this is {self.path}\n".encode() * 1_000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Echo

    def checked(folder, count):
        for number in range(count):
            with open(os.path.join(folder, str(number))) as file:
                assert file.read() == f"this is /{number}\n" * 1_000, number

    def fetch(port, count, *flags):
        with tempfile.TemporaryDirectory() as folder:
            command = ["curl", "--silent", "--show-error", "--fail", *flags]
            command += ["--output", os.path.join(folder, "#1"), f"http://127.0.0.1:{port}/[0-{count - 1}]"]
            run(command)
            checked(folder, count)

    with Server(("127.0.0.1", 0), handler(kept)) as server:
        with proxy("raw", serving(server), 8) as through:
            fetch(through.port, 50)
        server.shutdown()
    assert kept.total == 1, f"{kept.total} connections, though curl keeps one"
    with Server(("127.0.0.1", 0), handler(closed)) as server:
        with proxy("raw", serving(server), 8) as through:
            fetch(through.port, 200, "--parallel", "--parallel-max", "50", "--header", "Connection: close")
        server.shutdown()
    return f"50 by one connection, 200 by 50 at once; {within(closed, 8)}"


class Echo(socketserver.StreamRequestHandler):
    """Says each line back."""

    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class Files(http.server.SimpleHTTPRequestHandler):
    """Those of this folder, without a line for each request."""

    def log_message(self, *_):
        pass


def recipes():
    """The code of docs/recipes.md as it is shown there, through the routes of that page."""
    with open("docs/recipes.md") as file:
        page = file.read()
    sections = {title: text for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.M | re.S)}

    def code(title, language):
        return re.findall(rf"^```{language}\n(.*?)^```", sections[title], re.M | re.S)

    def output(command, source):
        return run([*command, source]).decode().strip()

    receives, sends = code("HL7", "python")
    python = [sys.executable, "-c"]
    receiver = subprocess.Popen([*python, receives])
    upstream = [PROGRAM, "serve", "--listen", "127.0.0.1:7070", "--handler", "echo"]
    routes = [PROGRAM, "proxy", "--config", "docs/samples/recipes.toml"]
    web = Server(("127.0.0.1", 7083), Files)
    scale = Server(("127.0.0.1", 7082), Echo)
    serving(web)
    serving(scale)
    processes = [receiver]
    plc = Device(7084)
    plc.__enter__()
    try:
        for command, lines in (upstream, 1), (routes, 6):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            for _ in range(lines):
                assert "listening" in process.stdout.readline(), command
        (php,) = code("PHP", "php")
        (node,) = code("Node", "javascript")
        (short,) = code("Python", "python")
        with tempfile.NamedTemporaryFile(suffix=".php") as file:
            file.write(php.encode())
            file.flush()
            replies = [run(["php", file.name]), output(["node", "-e"], node), output(python, short)]
        for reply in replies:
            assert json.loads(reply) == {"order": 7}, replies
        (weigh,) = code("A device with one connection", "python")
        assert output(python, weigh) == "WEIGHT?"
        (poll,) = code("A Modbus device", "python")
        assert output(python, poll) == "[0, 0]"
        (fetch,) = code("curl", "sh")
        assert "<title>" in output(["bash", "-c"], fetch)
        assert output(python, sends).startswith("AA|ID7"), "the acknowledgment"
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=60)
        plc.__exit__()
    return "PHP, Node, Python, HL7, a device, Modbus, curl"


def main():
    print(f"hl7 {hl7.__version__}, pymodbus {pymodbus.__version__}, {run(['curl', '--version']).decode().split(' (')[0]}")
    meetings = [
        ("the published Node client through length-json", node_client),
        ("hl7's MLLPClient and mllp_send through mllp to hl7's server", lambda: asyncio.run(hl7_both_sides())),
        ("pymodbus on both sides through modbus", modbus_masters),
        ("socat through delimited", socat_lines),
        ("curl through raw", curl_through_raw),
        ("the recipes of docs/recipes.md", recipes),
    ]
    for name, meet in meetings:
        print(f"{name}: {meet()}", flush=True)


main()
