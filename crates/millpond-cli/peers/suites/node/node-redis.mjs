// What services do with node-redis, in RESP2 and in RESP3, against the port that is given.
import { createClient, createClientPool } from "redis";
import { assert, pause, port, steps, until } from "./steps.mjs";

const all = {};
for (const RESP of [2, 3]) {
  const connect = async (options) => {
    const client = createClient({ socket: { port, reconnectStrategy: 20 }, RESP, ...options });
    client.on("error", () => {});
    return client.connect();
  };
  const redis = await connect();
  const named = {
    "hashes are objects": async () => {
      await redis.del("hash");
      await redis.hSet("hash", { a: "1", b: "2" });
      assert.deepEqual({ ...(await redis.hGetAll("hash")) }, { a: "1", b: "2" });
    },
    "doubles are numbers": async () => {
      await redis.zAdd("scores", { score: 1.5, value: "x" });
      assert.equal(await redis.zScore("scores", "x"), 1.5);
    },
    "2,000 calls at once get their own replies": async () => {
      const calls = Array.from({ length: 2000 }, (_, i) => redis.echo(String(i)));
      (await Promise.all(calls)).forEach((reply, i) => assert.equal(reply, String(i)));
    },
    "a transaction is executed": async () => {
      await redis.del("sum");
      const replies = await redis.multi().incr("sum").incrBy("sum", 5).get("sum").exec();
      assert.deepEqual(replies, [1, 6, "6"]);
    },
    "a refused command in a transaction discards it": async () => {
      const own = await connect();
      const transaction = own.multi().set("never", "1").addCommand(["NO-SUCH-COMMAND"]);
      await assert.rejects(transaction.exec());
      assert.equal(await own.exists("never"), 0);
      own.destroy();
    },
    "WATCH sees what another client changes": async () => {
      const own = await connect();
      await own.set("watched", "1");
      await own.watch("watched");
      await redis.set("watched", "2");
      await assert.rejects(own.multi().set("watched", "3").exec(), /watch/i);
      assert.equal(await own.get("watched"), "2");
      own.destroy();
    },
    "1,000 messages arrive in order": async () => {
      const subscriber = await connect();
      const messages = [];
      await subscriber.subscribe("news", (message) => messages.push(Number(message)));
      await Promise.all(Array.from({ length: 1000 }, (_, i) => redis.publish("news", String(i))));
      await until(() => messages.length === 1000);
      assert.deepEqual(messages, Array.from({ length: 1000 }, (_, i) => i));
      await subscriber.unsubscribe("news");
      subscriber.destroy();
    },
    "a client that waits is woken": async () => {
      const waiting = await connect();
      const element = waiting.blPop("queue", 8);
      await pause(100);
      await redis.rPush("queue", "job");
      assert.deepEqual({ ...(await element) }, { key: "queue", element: "job" });
      waiting.destroy();
    },
    "a pool's clients wait side by side": async () => {
      const pool = createClientPool({ socket: { port }, RESP }, { minimum: 1, maximum: 10 });
      pool.on("error", () => {});
      await pool.connect();
      const elements = Array.from({ length: 8 }, (_, i) => pool.blPop(`side${i}`, 8));
      await pause(200);
      for (let i = 0; i < 8; i += 1) await redis.rPush(`side${i}`, String(i));
      (await Promise.all(elements)).forEach(({ element }, i) => assert.equal(element, String(i)));
      pool.destroy();
    },
    "all fields are scanned": async () => {
      const fields = Array.from({ length: 700 }, (_, i) => [`f${i}`, "1"]);
      await redis.hSet("fields", Object.fromEntries(fields));
      let count = 0;
      for await (const entries of redis.hScanIterator("fields")) count += entries.length;
      assert.equal(count, 700);
    },
    "a client comes back after its connection was lost, and subscribes again": async () => {
      const subscriber = await connect();
      const messages = [];
      await subscriber.subscribe("again", (message) => messages.push(message));
      // It is the server that ends it: QUIT is answered, and the client takes it for a loss.
      await subscriber.sendCommand(["QUIT"]).catch(() => {});
      await until(async () => (await redis.publish("again", "hello")) === 1);
      await until(() => messages.includes("hello"));
      subscriber.destroy();
    },
  };
  if (RESP === 3) {
    named["a cache in the client is told of changes"] = async () => {
      const { BasicClientSideCache } = await import("@redis/client");
      const clientSideCache = new BasicClientSideCache({ ttl: 0, maxEntries: 0 });
      const caching = await connect({ clientSideCache });
      await redis.set("cached", "1");
      assert.equal(await caching.get("cached"), "1");
      assert.equal(await caching.get("cached"), "1");
      assert.equal(clientSideCache.stats().hitCount, 1);
      await redis.set("cached", "2");
      await until(async () => (await caching.get("cached")) === "2");
      caching.destroy();
    };
  }
  for (const [name, step] of Object.entries(named)) all[`RESP${RESP} ${name}`] = step;
}
await steps(all);
