// `node slices.js PORT CALLERS CONNECTIONS BYTES`: for each line of its input, milliseconds, the callers exchange for so long, after a
// fifth of that unmeasured; one JSON line says what came of it. Every reply is compared with its own request.
'use strict';
const readline = require('readline');
const { Client } = require('./client');

const [port, callers, connections, length] = process.argv.slice(2).map(Number);
const client = new Client(port, connections);
const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

// Digits, another number each time: the caller's, then the exchange's.
function bodyOf(caller) {
  return Buffer.from(String(100 + caller).padEnd(length, '0'));
}

function count(body) {
  let at = body.length - 1;
  while (body[at] === 57) body[at--] = 48;
  body[at]++;
}

async function slice(milliseconds) {
  const counts = new Array(callers).fill(0);
  let going = true, measuring = false, wrong = 0;
  const all = counts.map(async (_, caller) => {
    const body = bodyOf(caller);
    while (going) {
      count(body);
      const reply = await client.exchange(body);
      if (!body.equals(reply)) wrong++;
      if (measuring) counts[caller]++;
    }
  });
  await pause(milliseconds / 5);
  measuring = true;
  const began = process.hrtime.bigint(), before = process.cpuUsage();
  await pause(milliseconds);
  measuring = false;
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const used = process.cpuUsage(before);
  going = false;
  await Promise.all(all);
  return { seconds, cpu_seconds: (used.user + used.system) / 1e6, counts, per_second: counts.reduce((sum, each) => sum + each) / seconds, wrong };
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await slice(Number(line))));
  }
  process.exit(0);
})();
