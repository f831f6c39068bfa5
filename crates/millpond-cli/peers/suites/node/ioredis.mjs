// What services do with ioredis, against the port that is given.
import Redis from "ioredis";
import { assert, pause, port, steps, until } from "./steps.mjs";

const connect = (options) => {
  const client = new Redis({ port, ...options });
  client.on("error", () => {});
  return client;
};
const redis = connect();

await steps({
  "values of all bytes come back": async () => {
    const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await redis.set("bytes", value);
    assert.deepEqual(await redis.getBuffer("bytes"), value);
  },
  "a value of 4 MB comes back": async () => {
    const value = "x".repeat(4_000_000);
    await redis.set("large", value);
    assert.equal(await redis.get("large"), value);
    await redis.del("large");
  },
  "a pipeline of 2,000 commands is answered in order": async () => {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 1000; i += 1) pipeline.set(`p${i}`, i).get(`p${i}`);
    const replies = await pipeline.exec();
    replies.forEach(([error, reply], i) => {
      assert.equal(error, null);
      assert.equal(reply, i % 2 ? String((i - 1) / 2) : "OK");
    });
  },
  "1,000 calls at once get their own replies": async () => {
    const calls = Array.from({ length: 1000 }, (_, i) => redis.echo(String(i)));
    (await Promise.all(calls)).forEach((reply, i) => assert.equal(reply, String(i)));
  },
  "commands are gathered into pipelines": async () => {
    const gathering = connect({ enableAutoPipelining: true });
    const calls = Array.from({ length: 300 }, (_, i) => gathering.echo(String(i)));
    (await Promise.all(calls)).forEach((reply, i) => assert.equal(reply, String(i)));
    gathering.disconnect();
  },
  "a transaction is executed": async () => {
    await redis.del("sum");
    const replies = await redis.multi().incr("sum").incrby("sum", 5).get("sum").exec();
    assert.deepEqual(replies, [[null, 1], [null, 6], [null, "6"]]);
  },
  "a transaction with an unknown command is discarded, and the connection stays": async () => {
    const own = connect();
    const transaction = own.multi().set("never", 1);
    transaction.call("no-such-command");
    await assert.rejects(transaction.exec(), /EXECABORT/);
    assert.equal(await own.exists("never"), 0);
    own.disconnect();
  },
  "WATCH sees what another client changes": async () => {
    const own = connect();
    await own.set("watched", 1);
    await own.watch("watched");
    await redis.set("watched", 2);
    assert.equal(await own.multi().set("watched", 3).exec(), null);
    assert.equal(await own.get("watched"), "2");
    await own.watch("watched");
    assert.deepEqual(await own.multi().set("watched", 3).exec(), [[null, "OK"]]);
    own.disconnect();
  },
  "a script is loaded and called by its hash": async () => {
    const lua = "return redis.call('incrby', KEYS[1], 2)";
    redis.defineCommand("twice", { numberOfKeys: 1, lua });
    await redis.del("counted");
    const replies = await Promise.all([redis.twice("counted"), redis.twice("counted")]);
    assert.deepEqual(replies, [2, 4]);
  },
  "1,000 messages arrive in order": async () => {
    const subscriber = connect();
    const messages = [];
    subscriber.on("message", (_, message) => messages.push(Number(message)));
    await subscriber.subscribe("news");
    const pipeline = redis.pipeline();
    for (let i = 0; i < 1000; i += 1) pipeline.publish("news", i);
    await pipeline.exec();
    await until(() => messages.length === 1000);
    assert.deepEqual(messages, Array.from({ length: 1000 }, (_, i) => i));
    await subscriber.unsubscribe("news");
    assert.equal(await subscriber.echo("as before"), "as before");
    subscriber.disconnect();
  },
  "patterns match": async () => {
    const subscriber = connect();
    const messages = [];
    subscriber.on("pmessage", (...message) => messages.push(message));
    await subscriber.psubscribe("n?ws", "x*");
    await redis.publish("nows", "1");
    await redis.publish("xy", "2");
    await until(() => messages.length === 2);
    assert.deepEqual(messages, [["n?ws", "nows", "1"], ["x*", "xy", "2"]]);
    subscriber.disconnect();
  },
  "a client that waits is woken": async () => {
    const waiting = connect();
    const element = waiting.blpop("queue", 8);
    await pause(100);
    await redis.rpush("queue", "job");
    assert.deepEqual(await element, ["queue", "job"]);
    waiting.disconnect();
  },
  "a client that waits in vain is told so at its time": async () => {
    const waiting = connect();
    const begun = Date.now();
    assert.equal(await waiting.brpop("empty", 1), null);
    assert.ok(Date.now() - begun >= 950);
    waiting.disconnect();
  },
  "a client that leaves while it waits takes nothing": async () => {
    const waiting = connect();
    waiting.blpop("left", 0).catch(() => {});
    await pause(200);
    waiting.disconnect();
    await pause(200);
    await redis.rpush("left", "job");
    await pause(100);
    assert.equal(await redis.lpop("left"), "job");
  },
  "a stream is read by a group": async () => {
    await redis.del("stream");
    await redis.xgroup("CREATE", "stream", "group", "$", "MKSTREAM");
    const reader = connect();
    const read = reader.xreadgroup("GROUP", "group", "me", "BLOCK", 5000, "STREAMS", "stream", ">");
    await pause(100);
    const id = await redis.xadd("stream", "*", "a", "1");
    assert.deepEqual(await read, [["stream", [[id, ["a", "1"]]]]]);
    assert.equal(await redis.xack("stream", "group", id), 1);
    reader.disconnect();
  },
  "all keys are scanned": async () => {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 500; i += 1) pipeline.set(`scanned:${i}`, i);
    await pipeline.exec();
    const found = new Set();
    for await (const keys of redis.scanStream({ match: "scanned:*" })) {
      keys.forEach((key) => found.add(key));
    }
    assert.equal(found.size, 500);
  },
  "a client comes back after its connection was lost, and subscribes again": async () => {
    const subscriber = connect({ retryStrategy: () => 20 });
    const messages = [];
    subscriber.on("message", (_, message) => messages.push(message));
    await subscriber.subscribe("again");
    subscriber.stream.destroy();
    await until(async () => (await redis.publish("again", "hello")) === 1);
    await until(() => messages.includes("hello"));
    subscriber.disconnect();
  },
  "MONITOR shows what others send": async () => {
    const monitor = await redis.duplicate().monitor();
    const seen = [];
    monitor.on("monitor", (_, command) => seen.push(command.join(" ").toLowerCase()));
    await redis.set("seen", 1);
    await until(() => seen.includes("set seen 1"));
    monitor.disconnect();
  },
  "a name is told": async () => {
    const named = connect({ connectionName: "worker" });
    assert.equal(await named.client("GETNAME"), "worker");
    named.disconnect();
  },
  "QUIT is answered": async () => {
    const leaving = connect();
    assert.equal(await leaving.quit(), "OK");
  },
});
