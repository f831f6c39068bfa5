"""Test suites of Redis and of its clients, once against redis-server and once through `millpond
proxy`: what differs must be exactly what the lists beside this file declare, each line with its
reason.

    suites.py PROGRAM FOLDER-OF-THE-SUITES [PART ...]

The folder has `python` (a venv with pytest), `redis-py`, `redis` and `phpredis` (their sources) and
`node_modules`. Parts are the names that this prints; without any, all are run.
"""

import itertools
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

from sides import Direct, Through

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
PARTS = sys.argv[3:]

# The units of the Tcl suite that make sense with a server that is somebody else's, those that take
# longest first. Without hyperloglog, which computes for minutes with commands that are alike, and
# without tracking, which redirects, so that each of its tests begins with what is refused.
UNITS = """
    type/stream scan sort type/zset type/hash type/set type/list type/list-2 type/list-3 type/string
    type/incr type/stream-cgroups scripting functions dump bitops bitfield geo protocol keyspace
    expire multi quit pubsub pubsubshard querybuf limits
""".split()

# Those in which a connection's state counts, in the other mode as well.
STATEFUL = "protocol multi quit pubsub pubsubshard type/stream-cgroups".split()

# Parts of redis-py's suite for servers that aren't here: a cluster, sentinels, TLS, modules.
NOT_OURS = "cluster ssl sentinel bloom graph json search timeseries credentials".split()

NUMBERS = itertools.count()


def run(command, log, limit, **settings):
    """Its output goes to a file; how it ended says less than the outcomes do."""
    with open(log, "wb") as out:
        try:
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=limit, **settings)
        except subprocess.TimeoutExpired:
            out.write(b"\ntook longer than %d s\n" % limit)


def redis_py(side, protocol, log):
    """Outcomes by the names of pytest."""
    report = log.with_suffix(".xml")
    command = [FOLDER / "python/bin/python", "-m", "pytest", "tests", "-q", "--tb=line"]
    for part in NOT_OURS:
        command += [f"--ignore=tests/test_{part}.py", f"--ignore=tests/test_asyncio/test_{part}.py"]
    command += ["-m", "not onlycluster and not redismod and not ssl", "-o", "asyncio_mode=auto"]
    command += ["-p", "no:cacheprovider", "-p", "quick", "--timeout=30", f"--junitxml={report}"]
    command += ["--redis-url", f"redis://127.0.0.1:{side.port}/0", f"--protocol={protocol}"]
    run(command, log, 500, cwd=FOLDER / "redis-py", env={**os.environ, "PYTHONPATH": str(HERE)})
    outcomes = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname').removeprefix('tests.')}::{case.get('name')}"
        outcome = ("passed", "")
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = ("failed", child.get("message") or "")
            elif child.tag == "skipped" and outcome[0] == "passed":
                outcome = ("skipped", "")
        # A test whose fixture fails as well is there twice.
        if outcomes.get(test, outcome)[0] != "failed":
            outcomes[test] = outcome
        else:
            outcomes.setdefault(test, outcome)
    return outcomes


def tcl_unit(side, unit, log):
    """Outcomes by the unit and the test's name. A name that is used more than once stands for all."""
    # Its processes meet at a port that no other run uses; the one 10,000 above it must be free too.
    baseport = 21_000 + 100 * next(NUMBERS)
    command = [
        "tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", str(side.port),
        "--baseport", str(baseport), "--portcount", "100",
        "--singledb", "--durable", "--timeout", "120", "--single", f"unit/{unit}",
        "--tags", "-slow -needs:repl -needs:reset -large-memory",
    ]  # fmt: skip
    folder = FOLDER / "redis"
    run(command, log, 240, cwd=folder, env={**os.environ, "ADMIN_PORT": str(side.admin)})
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    outcomes = {}
    lines = text.splitlines()
    for line, next_line in zip(lines, lines[1:] + [""]):
        if found := re.fullmatch(r"\[ok\]: (.*) \(\d+ ms\)", line):
            outcomes.setdefault(f"{unit}: {found[1]}", ("passed", ""))
        elif found := re.fullmatch(r"\[err\]: (.*?)(?: in tests/unit/.*)?", line):
            outcomes[f"{unit}: {found[1]}"] = ("failed", next_line)
        elif found := re.fullmatch(r"\[exception\]: (.*)", line):
            outcomes[f"{unit}: (the unit)"] = ("failed", found[1])
    if "Execution time of different units" not in text:
        outcomes[f"{unit}: (the unit)"] = ("failed", "didn't come to its end")
    return outcomes


def phpredis(side, log):
    """Outcomes by the names of the methods."""
    command = ["php", HERE / "phpredis.php", str(side.port)]
    run(command, log, 240, cwd=FOLDER / "phpredis/tests")
    outcomes = {}
    for line in log.read_text(errors="replace").splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1] in ("passed", "failed", "skipped"):
            outcomes[fields[0]] = (fields[1], fields[2])
    return outcomes


def script(side, command, log):
    """Outcomes by the names of the steps of a script of ours."""
    run([*command, str(side.port)], log, 200)
    outcomes = {}
    for line in log.read_text(errors="replace").splitlines():
        if found := re.fullmatch(r"(passed|failed) ([^:]*)(?:: (.*))?", line):
            outcomes[found[2]] = (found[1], found[3] or "")
    return outcomes


def declared(name, side):
    """The tests whose outcomes differ, as the list says: those of all modes, and of this one."""
    tests = {}
    for line in (HERE / "differences" / f"{name}.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        test, _, reason = line.partition(" | ")
        if not reason.strip():
            raise SystemExit(f"{name}.txt: a line without a reason: {line}")
        if found := re.match(r"\[(\w+)\] ", test):
            if found[1] != side:
                continue
            test = test[found.end() :]
        tests[test] = reason.strip()
    return tests


def left_out(name):
    """The patterns of tests that are left out on both sides, as each ends now so, now so."""
    patterns = []
    for line in (HERE / "differences/left-out.txt").read_text().splitlines():
        if line.startswith(f"{name}: "):
            patterns.append(re.compile(line.removeprefix(f"{name}: ").partition(" | ")[0]))
    return patterns


def compare(name, side, direct, through):
    """Says what differs; whether it is what is declared."""
    ignored = left_out(name)
    all_tests = sorted(direct.keys() | through.keys())
    tests = [
        test
        for test in all_tests
        if not any(pattern.fullmatch(test) for pattern in ignored)
    ]
    nothing = ("missing", "")
    differing = {
        test: (direct.get(test, nothing), through.get(test, nothing))
        for test in tests
        if direct.get(test, nothing)[0] != through.get(test, nothing)[0]
    }
    expected = declared(name, side)
    passed = sum(through.get(test, nothing)[0] == "passed" for test in tests)
    alike = sum(direct.get(test, nothing)[0] == "failed" for test in tests) - sum(
        ends[0][0] == "failed" for ends in differing.values()
    )
    print(
        f"{name}, {side}: {len(tests)} tests, {passed} passed through, {alike} fail on both sides,"
        f" {len(differing)} differ, {len(expected)} are declared"
    )
    for test in sorted(differing.keys() - expected.keys()):
        (was, _), (now, words) = differing[test]
        print(f"  not declared: {test} | {was} directly, {now} through: {words[:300]}")
    for test in sorted(expected.keys() - differing.keys()):
        print(f"  declared, but alike: {test} | {direct.get(test, nothing)[0]}")
    if not any(outcome == "passed" for outcome, _ in direct.values()):
        print(f"  nothing passes directly: the suite didn't run; see {FOLDER}/logs")
        return False
    idle = [pattern.pattern for pattern in ignored if not any(map(pattern.fullmatch, all_tests))]
    for pattern in idle:
        print(f"  left out, but not there: {pattern}")
    return differing.keys() == expected.keys() and not idle


def on(side_of, suite, *arguments):
    with side_of() as side:
        return suite(side, *arguments)


def behind(mode):
    return lambda: Through(PROGRAM, mode)


def parts():
    """Of each part: the name of its list, its modes, and what is run on a side of its own."""
    both = ["exchange", "pipeline"]
    yield "tcl", "tcl", both[:1], [(unit, tcl_unit, unit) for unit in UNITS]
    yield "tcl-pipeline", "tcl-pipeline", both[1:], [(unit, tcl_unit, unit) for unit in STATEFUL]
    yield "redis-py-2", "redis-py", both[:1], [("2", redis_py, 2)]
    yield "redis-py-3", "redis-py", both[1:], [("3", redis_py, 3)]
    yield "phpredis", "phpredis", both, [("all", phpredis)]
    yield "wire", "wire", both, [("all", script, [sys.executable, HERE / "wire.py"])]
    for client in ("ioredis", "node-redis"):
        yield client, client, both, [("all", script, ["node", FOLDER / f"{client}.mjs"])]


def main():
    logs = FOLDER / "logs"
    logs.mkdir(exist_ok=True)
    known = [part for part, *_ in parts()]
    unknown = [part for part in PARTS if part not in known]
    if unknown:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")

    for _, name, modes, _ in parts():
        for mode in modes:
            declared(name, mode)  # so that a line without a reason fails before anything is run

    begun = time.monotonic()
    is_well = True
    with ThreadPoolExecutor(max_workers=int(os.environ.get("SUITES_AT_ONCE", "6"))) as pool:

        def start(part, side, side_of, works):
            """Each work with a server of its own, so that none finds what another left."""
            return [
                pool.submit(on, side_of, suite, *arguments, logs / f"{part}-{side}-{label}.log")
                for label, suite, *arguments in (
                    (work[0].replace("/", "-"), *work[1:]) for work in works
                )
            ]

        def outcomes(futures):
            return {test: end for future in futures for test, end in future.result().items()}

        running = []
        for part, name, modes, works in parts():
            if PARTS and part not in PARTS:
                continue
            direct = start(part, "direct", Direct, works)
            for mode in modes:
                running.append((name, mode, direct, start(part, mode, behind(mode), works)))
        for name, mode, direct, through in running:
            is_well &= compare(name, mode, outcomes(direct), outcomes(through))
    print(f"{time.monotonic() - begun:.0f} s")
    if not is_well:
        raise SystemExit("what differs isn't what is declared")


main()
