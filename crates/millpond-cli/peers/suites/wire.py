"""What clients do in bulk, at the same time, or by leaving: on bare sockets, since clients' libraries
don't do it. Each step passes or fails by itself.

    wire.py PORT
"""

import random
import socket
import sys
import threading
import time

PORT = int(sys.argv[1])


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=15)

    def send(self, *lines):
        self.socket.sendall("".join(line + "\r\n" for line in lines).encode())

    def expect(self, wanted):
        """The next bytes must be these."""
        wanted = wanted.encode() if isinstance(wanted, str) else wanted
        got = b""
        while len(got) < len(wanted):
            more = self.socket.recv(min(len(wanted) - len(got), 1 << 16))
            if not more or not wanted.startswith(more, len(got)):
                got += more
                break
            got += more
        assert got == wanted, f"{got[:120]!r} instead of {wanted[:120]!r}"

    def expect_end(self):
        assert self.socket.recv(1) == b"", "more comes"

    def ask(self, line, wanted):
        self.send(line)
        self.expect(wanted)

    def leave(self):
        self.socket.close()


def array(*arguments):
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def bulk(text):
    return f"${len(text)}\r\n{text}\r\n"


def fifty_thousand_requests_at_once_are_answered_in_order():
    client = Client()
    requests = "".join(f"ECHO {i}\r\n" for i in range(50_000)).encode()
    sender = threading.Thread(target=client.socket.sendall, args=(requests,))
    sender.start()
    client.expect("".join(bulk(str(i)) for i in range(50_000)))
    sender.join()


def a_value_of_8_mb_comes_back():
    client = Client()
    value = random.Random(1).randbytes(8_000_000)
    client.socket.sendall(array(b"SET", b"large", value))
    client.expect("+OK\r\n")
    client.ask("GET large", b"$8000000\r\n" + value + b"\r\n")
    client.ask("DEL large", ":1\r\n")


def a_client_that_reads_slowly_gets_all():
    client = Client()
    client.socket.sendall(array(b"SET", b"page", b"x" * 100_000))
    client.expect("+OK\r\n")
    sender = threading.Thread(target=client.send, args=["GET page"] * 300)
    sender.start()
    time.sleep(0.5)
    client.expect((bulk("x" * 100_000)) * 300)
    sender.join()


def thirty_clients_get_their_own_replies():
    failures = []

    def ask_much(number):
        chance = random.Random(number)
        try:
            client = Client()
            for i in range(40):
                name = f"own:{number}:{i}"
                kind = chance.randrange(4)
                if kind == 0:
                    client.send(*[f"ECHO {name}:{j}" for j in range(20)])
                    client.expect("".join(bulk(f"{name}:{j}") for j in range(20)))
                elif kind == 1:
                    client.send("MULTI", f"SET {name} 1", f"ECHO {name}", "EXEC")
                    client.expect(f"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n{bulk(name)}")
                elif kind == 2:
                    client.send(f"RPUSH {name} a", f"BLPOP {name} 5")
                    client.expect(f":1\r\n*2\r\n{bulk(name)}{bulk('a')}")
                else:
                    client.leave()
                    client = Client()
        except Exception as error:
            failures.append(str(error))

    threads = [threading.Thread(target=ask_much, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def what_is_sent_before_half_closing_is_answered():
    client = Client()
    client.send(*[f"ECHO {i}" for i in range(300)])
    client.socket.shutdown(socket.SHUT_WR)
    client.expect("".join(bulk(str(i)) for i in range(300)))
    client.expect_end()


def what_is_behind_quit_is_not_executed():
    for before, reply in [([], ""), (["ECHO a"], bulk("a")), (["GET nothing"], "$-1\r\n")] * 5:
        client = Client()
        client.send(*before, "QUIT", "SET behind 1")
        client.expect(reply)
        client.expect("+OK\r\n")
        client.expect_end()
    Client().ask("EXISTS behind", ":0\r\n")


def a_client_that_leaves_while_it_waits_takes_nothing():
    for command in ("BLPOP left 0", "BLMOVE left other LEFT LEFT 0", "BLMPOP 0 1 left LEFT"):
        waiting = Client()
        waiting.send(command)
        time.sleep(0.3)
        waiting.leave()
        time.sleep(0.3)
        client = Client()
        client.ask("RPUSH left a", ":1\r\n")
        time.sleep(0.1)
        client.ask("LPOP left", bulk("a"))


def a_transaction_that_is_left_is_not_executed():
    leaving = Client()
    leaving.send("MULTI", "SET half 1")
    leaving.expect("+OK\r\n+QUEUED\r\n")
    leaving.leave()
    time.sleep(0.2)
    Client().ask("EXISTS half", ":0\r\n")


def reset_ends_a_transaction():
    client = Client()
    client.send("MULTI", "SET q 1", "RESET", "EXISTS q", "EXEC")
    client.expect("+OK\r\n+QUEUED\r\n+RESET\r\n:0\r\n-ERR EXEC without MULTI\r\n")


def others_wait_behind_a_blocking_command_of_the_same_client():
    client = Client()
    client.send("BLPOP nobody 1", "PING", "SET z 5", "GET z")
    client.expect("*-1\r\n+PONG\r\n+OK\r\n$1\r\n5\r\n")


def the_version_may_change_in_the_midst_of_a_pipeline():
    client = Client()
    client.send("DEL fields", "HSET fields a 1", "HGETALL fields")
    client.expect(":0\r\n:1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n")
    client.send("HELLO 3", "HGETALL fields", "HELLO 2", "HGETALL fields", "ECHO end")
    got = b""
    while not got.endswith(b"$3\r\nend\r\n"):
        got += client.socket.recv(1 << 16)
    assert got.count(b"%1\r\n$1\r\na\r\n$1\r\n1\r\n") == 1, got
    assert got.count(b"*2\r\n$1\r\na\r\n$1\r\n1\r\n") == 1, got


def a_thousand_messages_arrive_at_once_and_in_order():
    for version in (2, 3):
        subscriber = Client()
        subscriber.send(f"HELLO {version}")
        subscriber.socket.recv(1 << 16)
        kind = "*" if version == 2 else ">"
        subscriber.ask("SUBSCRIBE news", f"{kind}3\r\n{bulk('subscribe')}{bulk('news')}:1\r\n")
        publisher = Client()
        publisher.send(*[f"PUBLISH news {i}" for i in range(1000)])
        publisher.expect(":1\r\n" * 1000)
        messages = [f"{kind}3\r\n{bulk('message')}{bulk('news')}{bulk(str(i))}" for i in range(1000)]
        subscriber.expect("".join(messages))
        subscriber.leave()
        time.sleep(0.2)


STEPS = [
    fifty_thousand_requests_at_once_are_answered_in_order,
    a_value_of_8_mb_comes_back,
    a_client_that_reads_slowly_gets_all,
    thirty_clients_get_their_own_replies,
    what_is_sent_before_half_closing_is_answered,
    what_is_behind_quit_is_not_executed,
    a_client_that_leaves_while_it_waits_takes_nothing,
    a_transaction_that_is_left_is_not_executed,
    reset_ends_a_transaction,
    others_wait_behind_a_blocking_command_of_the_same_client,
    the_version_may_change_in_the_midst_of_a_pipeline,
    a_thousand_messages_arrive_at_once_and_in_order,
]
for step in STEPS:
    name = step.__name__.replace("_", " ")
    try:
        step()
        print(f"passed {name}", flush=True)
    except Exception as error:
        print(f"failed {name}: {type(error).__name__} {error}", flush=True)
