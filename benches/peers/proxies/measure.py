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
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
TICK = os.sysconf("SC_CLK_TCK")
# So long are runs with a connection per request: the system gives out half of its 28,232 ports at ease,
# and a port to the same address again only after a second.
SHORT_SECONDS = 0.3


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


def nginx(folder, upstream_port, settings=""):
    """With one thread, in front of that port. `settings` are those towards the upstream."""
    port = free_port()
    with open(f"{folder}/nginx.conf", "w") as conf:
        conf.write(
            f"worker_processes 1; daemon off; error_log {folder}/nginx.err; pid {folder}/nginx.pid;\n"
            + (f"load_module {NGINX_MODULE};\n" if os.path.exists(NGINX_MODULE) else "")
            + "events { worker_connections 9000; }\n"
            + f"stream {{ access_log off; server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{upstream_port}; {settings} }} }}\n"
        )
    return Contender("nginx", port, subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf"], **QUIET))


def haproxy(folder, upstream_port, settings=""):
    """With one thread, in front of that port. `settings` are those towards the upstream."""
    port = free_port()
    with open(f"{folder}/haproxy.cfg", "w") as conf:
        conf.write(
            "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n"
            f"  timeout connect 5s\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n"
            f"  server s 127.0.0.1:{upstream_port} {settings}\n"
        )
    return Contender("haproxy", port, subprocess.Popen(["haproxy", "-f", f"{folder}/haproxy.cfg"], **QUIET))


def certificate(folder):
    """For this machine, and trusted by whoever is given it."""
    names = f"{folder}/cert.pem", f"{folder}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-addext", "basicConstraints=critical,CA:FALSE"]
        + ["-out", names[0], "-keyout", names[1]],
        check=True,
        capture_output=True,
    )
    return names


def start(program, folder, tls=False):
    """The upstream, and all that pass requests on to it: over TLS, as said."""
    upstream_port = free_port()
    cert, key = certificate(folder) if tls else (None, None)
    scheme = "tls://" if tls else ""
    command = [program, "serve", "--listen", f"{scheme}127.0.0.1:{upstream_port}", "--max-connections-per-address", "0"]
    command += ["--tls-cert", cert, "--tls-key", key] if tls else []
    upstream = subprocess.Popen(command, **QUIET)
    # Clients know no TLS, so there is none without a proxy.
    contenders = [Contender("upstream" if tls else "direct", upstream_port, upstream)]
    for mode in ("exchange", "pipeline"):
        port = free_port()
        command = [program, "proxy", "--listen", f"127.0.0.1:{port}", "--to", f"{scheme}127.0.0.1:{upstream_port}"]
        command += ["--mode", mode, "--max-size", "16", "--max-connections-per-address", "0"]
        command += ["--ca", cert] if tls else []
        contenders.append(Contender(mode, port, subprocess.Popen(command, **QUIET)))
    # Neither verifies anything. HAProxy is faster with TLS 1.2 here.
    contenders.append(nginx(folder, upstream_port, "proxy_ssl on; proxy_ssl_session_reuse on;" if tls else ""))
    contenders.append(haproxy(folder, upstream_port, "ssl verify none force-tlsv12" if tls else ""))
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


def compare(program, contenders, baseline, title, mode, callers, connections, seconds, count):
    """Rounds in which each of them is measured once, and the medians of the ratios within them."""
    seconds = min(seconds, SHORT_SECONDS) if mode == "short" else seconds
    upstream = contenders[0]
    measured = [contender for contender in contenders if contender.name != "upstream"]
    rounds = []
    for _ in range(count):
        rounds.append(
            {
                contender.name: measure(program, contender, upstream, mode, callers, connections, seconds)
                for contender in measured
            }
        )
    print(f"\n{title}: medians of {count} rounds")
    head = "", "requests/s", f"x {baseline}", "x nginx", "x haproxy", f"p50 x {baseline}", "own CPU us", f"upstream's CPU x {baseline}"
    print("{:9} {:>10} {:>9} {:>8} {:>10} {:>13} {:>11} {:>24}".format(*head))
    for contender in measured:
        name = contender.name

        def ratio(key, to):
            return statistics.median(one[name][key] / max(one[to][key], 1e-9) for one in rounds)

        throughput = statistics.median(one[name]["throughput"] for one in rounds)
        own = statistics.median(one[name]["own"] for one in rounds)
        print(
            f"{name:9} {throughput:10.0f} {ratio('throughput', baseline):9.2f} {ratio('throughput', 'nginx'):8.2f}"
            f" {ratio('throughput', 'haproxy'):10.2f} {ratio('p50', baseline):13.2f} {own:11.1f}"
            f" {ratio('upstream', baseline):24.2f}",
            flush=True,
        )


def stop(contenders):
    for contender in contenders:
        contender.process.terminate()
    for contender in contenders:
        contender.process.wait()


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
            ("64 callers over 64 long connections", "exclusive", 64, 64),
            ("64 callers, a connection per request", "short", 64, 16),
            ("one caller", "exclusive", 1, 1),
        ]:
            compare(arguments.program, contenders, "direct", title, mode, callers, connections, arguments.seconds, arguments.rounds)
        stop(contenders)
        contenders = []
        contenders = start(arguments.program, folder, tls=True)
        title = "64 callers, a connection per request, TLS to the upstream"
        compare(arguments.program, contenders, "nginx", title, "short", 64, 16, arguments.seconds, arguments.rounds)
    finally:
        stop(contenders)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
