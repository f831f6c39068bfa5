"""`millpond proxy` beside nginx (stream) and HAProxy (TCP), and beside no proxy, on one machine.

Each round measures each of them once, in turn. What counts is the median of the ratios within a
round. Usage: measure.py PROGRAM [--rounds N] [--seconds S]
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

NGINX_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def reachable(port, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} has ended: {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} doesn't listen on {port}")


def processes(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [pid, *map(int, children.read().split())]


def processor_time(pid):
    """In microseconds, of the process and its children."""
    ticks = 0
    for one in processes(pid):
        with open(f"/proc/{one}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1e6 / TICK


def resident(pid):
    """In KiB."""
    total = 0
    for one in processes(pid):
        with open(f"/proc/{one}/status") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total


class Contender:
    def __init__(self, name, port, process):
        self.name, self.port, self.process = name, port, process
        reachable(port, process)


def start(program, folder):
    """The upstream, and all that pass requests on to it."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    upstream_port = free_port()
    upstream = subprocess.Popen(
        [program, "serve", "--listen", f"127.0.0.1:{upstream_port}", "--max-connections-per-address", "0"], **quiet
    )
    contenders = [Contender("direct", upstream_port, upstream)]
    for mode in ("exchange", "pipeline"):
        port = free_port()
        command = [program, "proxy", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{upstream_port}"]
        command += ["--mode", mode, "--max-size", "16", "--max-connections-per-address", "0"]
        contenders.append(Contender(mode, port, subprocess.Popen(command, **quiet)))
    port = free_port()
    with open(f"{folder}/nginx.conf", "w") as conf:
        conf.write(
            f"worker_processes 1; daemon off; error_log {folder}/nginx.err; pid {folder}/nginx.pid;\n"
            + (f"load_module {NGINX_MODULE};\n" if os.path.exists(NGINX_MODULE) else "")
            + "events { worker_connections 9000; }\n"
            + f"stream {{ access_log off; server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{upstream_port}; }} }}\n"
        )
    contenders.append(Contender("nginx", port, subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf"], **quiet)))
    port = free_port()
    with open(f"{folder}/haproxy.cfg", "w") as conf:
        conf.write(
            "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n"
            f"  timeout connect 5s\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n"
            f"  server s 127.0.0.1:{upstream_port}\n"
        )
    contenders.append(Contender("haproxy", port, subprocess.Popen(["haproxy", "-f", f"{folder}/haproxy.cfg"], **quiet)))
    return contenders


def measure(program, contender, upstream, mode, callers, connections, seconds):
    before, upstream_before = processor_time(contender.process.pid), processor_time(upstream.process.pid)
    command = [program, "bench", "--to", f"127.0.0.1:{contender.port}", "--modes", mode, "--json", "--rounds", "1"]
    command += ["--callers", str(callers), "--connections", str(connections), "--seconds", str(seconds)]
    command += ["--warm-up", "0"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{contender.name}: {run.stderr or run.stdout}")
    found = json.loads(run.stdout)["modes"][0]
    requests = found["requests"]
    return {
        "throughput": found["throughput"],
        "p50": found["latency_us"]["p50"],
        "own": (processor_time(contender.process.pid) - before) / requests,
        "upstream": (processor_time(upstream.process.pid) - upstream_before) / requests,
    }


def idle(contender, clients):
    """KiB resident for each client that has sent a request and rests since."""
    body = b'"' + b"x" * 62 + b'"'
    request = b"length:%013d" % len(body) + body
    before, open_sockets = resident(contender.process.pid), []
    for _ in range(clients):
        client = socket.create_connection(("127.0.0.1", contender.port))
        client.sendall(request)
        client.recv(1024)
        open_sockets.append(client)
    # Longer than a route keeps the memory of a queue that is empty.
    time.sleep(12)
    after = resident(contender.process.pid)
    for client in open_sockets:
        client.close()
    return (after - before) / clients


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=1.0)
    arguments.add_argument("--idle", type=int, default=2000)
    arguments = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tempfile.mkdtemp()
    contenders = []
    try:
        contenders = start(arguments.program, folder)
        direct = contenders[0]
        clients = min(arguments.idle, hard // 4)
        # What starting has left behind is given back by then.
        time.sleep(15)
        for contender in contenders[1:]:
            print(f"resident per idle client, {clients}: {contender.name} {idle(contender, clients):.2f} KiB", flush=True)
        for title, mode, callers, connections in [
            ("64 callers over 16 long connections", "exclusive", 64, 16),
            ("64 callers, a connection per request", "short", 64, 16),
            ("one caller", "exclusive", 1, 1),
        ]:
            rounds = []
            for _ in range(arguments.rounds):
                rounds.append(
                    {
                        contender.name: measure(
                            arguments.program, contender, direct, mode, callers, connections, arguments.seconds
                        )
                        for contender in contenders
                    }
                )
            print(f"\n{title}: medians of {arguments.rounds} rounds")
            head = "", "requests/s", "x direct", "x nginx", "x haproxy", "p50 x direct", "own CPU us", "upstream's CPU x direct"
            print("{:9} {:>10} {:>9} {:>8} {:>10} {:>13} {:>11} {:>24}".format(*head))
            for contender in contenders:
                name = contender.name

                def ratio(key, to):
                    return statistics.median(one[name][key] / max(one[to][key], 1e-9) for one in rounds)

                throughput = statistics.median(one[name]["throughput"] for one in rounds)
                own = statistics.median(one[name]["own"] for one in rounds)
                print(
                    f"{name:9} {throughput:10.0f} {ratio('throughput', 'direct'):9.2f} {ratio('throughput', 'nginx'):8.2f}"
                    f" {ratio('throughput', 'haproxy'):10.2f} {ratio('p50', 'direct'):13.2f} {own:11.1f}"
                    f" {ratio('upstream', 'direct'):24.2f}",
                    flush=True,
                )
    finally:
        for contender in contenders:
            contender.process.terminate()
        for contender in contenders:
            contender.process.wait()
        shutil.rmtree(folder)


main()
