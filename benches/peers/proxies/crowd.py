"""What clients of `millpond proxy` notice of 10,000 others that are idle and 2,000 that send a byte
a second: the 99th percentile of their latency with the crowd, divided by that without it.

Each round measures both at the same time, with a proxy of its own each, and the crowd is at one of
them: whatever else the machine does, or has to do for the crowd's clients, hits both. What counts is
the median of the ratios within a round. All are on Unix sockets, where closed connections keep no
port. Usage: crowd.py PROGRAM [--rounds N]
[--seconds S] [--idle N] [--slow N] [--mode MODE] [--rate N]
"""

import argparse
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HEADER = b"length:0000000000001"


def reachable(path, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[1]} has ended: {process.returncode}")
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(path)
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {path}")


def connect(path, count):
    streams = []
    for _ in range(count):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(path)
        streams.append(stream)
    return streams


def drip(slow, process):
    """Sends a byte a second on each, evenly, until the process has ended."""
    begun, sent = time.monotonic(), 0
    while process.poll() is None:
        due = int((time.monotonic() - begun) * len(slow))
        for number in range(sent, due):
            turn, which = divmod(number, len(slow))
            slow[which].send(HEADER[turn : turn + 1])
        sent = max(sent, due)
        time.sleep(0.005)


def bench(arguments, front):
    command = [arguments.program, "bench", "--to", f"unix://{front}", "--modes", "exclusive", "--json", "--rounds", "1"]
    command += ["--callers", "8", "--connections", "8", "--seconds", str(arguments.seconds), "--warm-up", "500ms"]
    command += ["--rate", str(arguments.rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def p99(bench):
    out, errors = bench.communicate()
    if bench.returncode != 0:
        sys.exit(errors or out)
    return json.loads(out)["modes"][0]["latency_us"]["p99"]


def measure(arguments, crowded, alone):
    idle = connect(crowded, arguments.idle)
    slow = connect(crowded, arguments.slow)
    # Those who came are served by then.
    time.sleep(1)
    benches = [bench(arguments, front) for front in (crowded, alone)]
    drip(slow, benches[0])
    found = [p99(bench) for bench in benches]
    for stream in idle + slow:
        stream.close()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=2_000)
    parser.add_argument("--mode", default="exchange")
    parser.add_argument("--rate", type=int, default=1_000)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = arguments.idle + arguments.slow + 200
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(f"a process may have {most} descriptors here, and {needed} are needed: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, 1024), most))
    with tempfile.TemporaryDirectory() as folder:
        back, fronts = f"{folder}/back", [f"{folder}/front-{which}" for which in "ab"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen([arguments.program, "serve", "--listen", f"unix://{back}"], **quiet)]
        for front in fronts:
            proxy = [arguments.program, "proxy", "--listen", f"unix://{front}", "--to", f"unix://{back}"]
            proxy += ["--mode", arguments.mode, "--max-connections", str(needed)]
            started.append(subprocess.Popen(proxy, **quiet))
        try:
            for path, process in zip([back, *fronts], started):
                reachable(path, process)
            ratios = []
            for number in range(arguments.rounds):
                crowded, alone = measure(arguments, *random.sample(fronts, 2))
                ratios.append(crowded / alone)
                print(f"round {number + 1}: p99 {alone} µs alone, {crowded} µs beside the crowd", flush=True)
            quarters = statistics.quantiles(ratios, n=4, method="inclusive")
            print(f"{arguments.mode}: {quarters[1]:.2f} [{quarters[0]:.2f} – {quarters[2]:.2f}], the median and quartiles of {len(ratios)} ratios")
        finally:
            for process in started:
                process.kill()


main()
