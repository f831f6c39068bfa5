"""A redis-server, alone or behind `millpond proxy`, on a free port and in a folder of its own."""

import json
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Direct:
    """The server itself. `port` is where clients connect, `admin` where its operators do."""

    name = "direct"

    def __init__(self):
        self.processes = []
        self.folder = tempfile.TemporaryDirectory()

    def __enter__(self):
        self.port = self.admin = free_port()
        command = [
            "redis-server", "--port", str(self.port), "--dir", self.folder.name, "--save", "",
            "--appendonly", "no", "--enable-debug-command", "yes", "--loglevel", "warning",
        ]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.processes.append(server)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("redis-server doesn't listen")
                time.sleep(0.02)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            stop(process)
        self.folder.cleanup()


class Through(Direct):
    """The server behind the sidecar, in one of its modes."""

    def __init__(self, program, mode):
        super().__init__()
        self.program, self.mode, self.name = program, mode, mode

    def __enter__(self):
        super().__enter__()
        command = [
            self.program, "proxy", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{self.admin}",
            "--framing", "redis", "--mode", self.mode, "--max-size", "64", "--drain", "100ms",
            "--max-frame", "64MiB", "--json", "--log", "off",
        ]  # fmt: skip
        sidecar = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(sidecar)
        for line in sidecar.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                self.port = int(event["endpoint"].rsplit(":", 1)[1])
                return self
        super().__exit__()
        raise SystemExit("the sidecar doesn't listen")
