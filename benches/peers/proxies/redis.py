"""`millpond proxy` for Redis beside nutcracker (twemproxy), nginx (stream), HAProxy (TCP) and no proxy, on
one machine: redis-benchmark with 50 clients, GET and SET of 64 bytes.

Each round measures each of them once, in turn. What counts is the median of the ratios within a
round. Usage: redis.py PROGRAM [--rounds N] [--only TITLE]
"""

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import tempfile

from measure import QUIET, Contender, free_port, haproxy, nginx, processor_time, stop

# What redis-benchmark is told, and how many requests: about a second; with a connection per request
# as many as the system gives ports out at ease.
WORKS = {
    "-P 1": (["-P", "1"], 60_000),
    "-P 16": (["-P", "16"], 600_000),
    "-k 0": (["-k", "0"], 5_000),
}


def start(program, folder, contenders):
    """redis-server, and all that pass requests on to it."""
    redis = free_port()
    command = ["redis-server", "--port", str(redis), "--save", "", "--appendonly", "no", "--maxclients", "20000"]
    contenders.append(Contender("direct", redis, subprocess.Popen(command, cwd=folder, **QUIET)))
    for mode in ("exchange", "pipeline"):
        port = free_port()
        command = [program, "proxy", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{redis}"]
        command += ["--framing", "redis", "--mode", mode, "--max-size", "16", "--max-connections-per-address", "0"]
        contenders.append(Contender(mode, port, subprocess.Popen(command, **QUIET)))
    port = free_port()
    with open(f"{folder}/nutcracker.yml", "w") as conf:
        conf.write(
            f"pool:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n"
            f"  timeout: 5000\n  backlog: 1024\n  servers:\n   - 127.0.0.1:{redis}:1\n"
        )
    command = ["nutcracker", "-c", f"{folder}/nutcracker.yml", "-s", str(free_port()), "-o", f"{folder}/nutcracker.log"]
    contenders.append(Contender("nutcracker", port, subprocess.Popen(command, **QUIET)))
    contenders.append(nginx(folder, redis))
    contenders.append(haproxy(folder, redis))


def measure(contender, redis, arguments, requests, command):
    before, redis_before = processor_time(contender.process.pid), processor_time(redis.process.pid)
    run = subprocess.run(
        ["redis-benchmark", "-p", str(contender.port), "-c", "50", "-d", "64", "-n", str(requests), "-t", command]
        + [*arguments, "--csv"],
        capture_output=True,
        text=True,
    )
    rows = [row for row in csv.reader(run.stdout.splitlines()) if row and row[0] == command.upper()]
    if run.returncode != 0 or len(rows) != 1 or "rror" in run.stderr:
        sys.exit(f"{contender.name}: {run.stderr or run.stdout}")
    return {
        "throughput": float(rows[0][1]),
        "own": (processor_time(contender.process.pid) - before) / requests,
        "redis": (processor_time(redis.process.pid) - redis_before) / requests,
    }


def compare(contenders, title, command, count):
    arguments, requests = WORKS[title]
    rounds = []
    for _ in range(count):
        rounds.append({one.name: measure(one, contenders[0], arguments, requests, command) for one in contenders})
    print(f"\n{command.upper()} {title}, 50 clients, 64 bytes: medians of {count} rounds")
    head = "", "requests/s", "x direct", "x nutcracker", "x nginx", "x haproxy", "own CPU us", "x nutcracker's", "redis' CPU x direct"
    print("{:10} {:>10} {:>9} {:>13} {:>8} {:>10} {:>11} {:>15} {:>20}".format(*head))
    for contender in contenders:
        name = contender.name

        def ratio(key, to):
            return statistics.median(one[name][key] / max(one[to][key], 1e-9) for one in rounds)

        def median(key):
            return statistics.median(one[name][key] for one in rounds)

        print(
            f"{name:10} {median('throughput'):10.0f} {ratio('throughput', 'direct'):9.2f}"
            f" {ratio('throughput', 'nutcracker'):13.2f} {ratio('throughput', 'nginx'):8.2f}"
            f" {ratio('throughput', 'haproxy'):10.2f} {median('own'):11.2f} {ratio('own', 'nutcracker'):15.2f}"
            f" {ratio('redis', 'direct'):20.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=WORKS)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp()
    contenders = []
    try:
        start(arguments.program, folder, contenders)
        for title in WORKS:
            if arguments.only in (None, title):
                for command in ("get", "set"):
                    compare(contenders, title, command, arguments.rounds)
    finally:
        stop(contenders)
        shutil.rmtree(folder, ignore_errors=True)


main()
