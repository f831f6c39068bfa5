// What the two scripts for Node share: steps with names, each of which passes or fails by itself.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

export const port = Number(process.argv[2]);
export { assert, pause };

// Waits until `condition` holds; fails after five seconds.
export async function until(condition) {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await condition()) return;
    await pause(10);
  }
  throw new Error("it didn't come about within 5 s");
}

export async function steps(named) {
  for (const [name, step] of Object.entries(named)) {
    let late;
    const limit = new Promise((_, reject) => {
      late = setTimeout(() => reject(new Error("took longer than 10 s")), 10_000);
    });
    try {
      await Promise.race([step(), limit]);
      console.log(`passed ${name}`);
    } catch (error) {
      console.log(`failed ${name}: ${String(error.message).split("\n")[0]}`);
    } finally {
      clearTimeout(late);
    }
  }
  process.exit(0);
}
