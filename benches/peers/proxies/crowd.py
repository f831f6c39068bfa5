"""What clients of `millpond proxy` notice of 10,000 others that are idle and 2,000 that send a byte
a second: the 99th percentile of their latency with the crowd, divided by that without it.

Each round measures both, in random order. What counts is the median of the ratios within a round.
All are on Unix sockets, where closed connections keep no port. Usage: crowd.py PROGRAM [--rounds N]
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


def measure(arguments, front, crowded):
    idle = connect(front, arguments.idle if crowded else 0)
    slow = connect(front, arguments.slow if crowded else 0)
    command = [arguments.program, "bench", "--to", f"unix://{front}", "--modes", "exclusive", "--json", "--rounds", "1"]
    command += ["--callers", "8", "--connections", "8", "--seconds", str(arguments.seconds), "--warm-up", "500ms"]
    command += ["--rate", str(arguments.rate)]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    drip(slow, bench)
    out, errors = bench.communicate()
    if bench.returncode != 0:
        sys.exit(errors or out)
    for stream in idle + slow:
        stream.close()
    found = json.loads(out)["modes"][0]
    return found["latency_us"]["p99"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=2_000)
    parser.add_argument("--mode", default="exchange")
    parser.add_argument("--rate", type=int, default=2_000)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = arguments.idle + arguments.slow + 200
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(f"a process may have {most} descriptors here, and {needed} are needed: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, 1024), most))
    with tempfile.TemporaryDirectory() as folder:
        back, front = f"{folder}/back", f"{folder}/front"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        upstream = subprocess.Popen([arguments.program, "serve", "--listen", f"unix://{back}"], **quiet)
        proxy = [arguments.program, "proxy", "--listen", f"unix://{front}", "--to", f"unix://{back}"]
        proxy += ["--mode", arguments.mode, "--max-connections", str(needed)]
        proxy = subprocess.Popen(proxy, **quiet)
        try:
            reachable(back, upstream)
            reachable(front, proxy)
            ratios = []
            for number in range(arguments.rounds):
                p99 = {}
                for crowded in random.sample([False, True], 2):
                    p99[crowded] = measure(arguments, front, crowded)
                ratios.append(p99[True] / p99[False])
                print(f"round {number + 1}: p99 {p99[False]} µs alone, {p99[True]} µs beside the crowd", flush=True)
            quarters = statistics.quantiles(ratios, n=4, method="inclusive")
            print(f"{arguments.mode}: {quarters[1]:.2f} [{quarters[0]:.2f} – {quarters[2]:.2f}], the median and quartiles of {len(ratios)} ratios")
        finally:
            proxy.kill()
            upstream.kill()


main()
