// The client and the server as they were published: header and body in two writes, one read taken for one frame, heartbeats.
// What is wrong with that is left as it was, for that is what real programs do.
'use strict';
const net = require('net');
const genericPool = require('generic-pool');

const HEARTBEAT = 'HeartBeat';
const header = body => 'length:' + String(Buffer.byteLength(body)).padStart(13, '0');

// Answers what is in each read.
function serve(heartbeatEvery, ready) {
  const server = net.createServer(socket => {
    const beats = heartbeatEvery && setInterval(() => socket.write(HEARTBEAT), heartbeatEvery);
    let held = '';
    socket.on('data', data => {
      const text = data.toString();
      if (text === HEARTBEAT) return;
      held += text;
      if (held.length <= 20) return; // The header came alone: the body is another read.
      const body = held.slice(20);
      held = '';
      const reply = JSON.stringify('服务端的数据数据:' + body);
      socket.write(header(reply));
      socket.write(reply);
    });
    socket.on('close', () => clearInterval(beats));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1', () => ready(server.address().port, server));
}

function clientOf(port, max) {
  const pool = genericPool.createPool({
    create: () => new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(socket));
      socket.on('error', reject);
      socket.beats = setInterval(() => socket.write(HEARTBEAT), 5000);
    }),
    destroy: socket => { clearInterval(socket.beats); socket.destroy(); return Promise.resolve(); },
  }, { max, min: 2 });
  return {
    async request(body) {
      const socket = await pool.acquire();
      try {
        return await new Promise((resolve, reject) => {
          const late = setTimeout(() => reject(new Error('no reply')), 5000);
          let held = '';
          const onData = data => {
            const text = data.toString();
            if (text === HEARTBEAT) return;
            held += text;
            if (held.length <= 20) return; // The header came alone: the body is another read.
            clearTimeout(late);
            socket.removeListener('data', onData);
            resolve(held.slice(20)); // All that has come is taken for one frame.
          };
          socket.on('data', onData);
          socket.write(header(body));
          socket.write(body);
        });
      } finally {
        await pool.release(socket);
      }
    },
    async close() { await pool.drain(); await pool.clear(); },
  };
}

// `requests` by `callers`; each reply is compared with what the request asks for. `gaps`: pauses, in which nothing is sent.
async function load(port, { requests, callers, gaps }) {
  const client = clientOf(port, 10);
  let next = 0, right = 0, wrong = 0, busy = 0;
  const rounds = gaps ? 4 : 1;
  for (let round = 1; round <= rounds; round++) {
    const until = Math.floor(requests * round / rounds);
    const began = process.hrtime.bigint();
    await Promise.all(Array.from({ length: callers }, async () => {
      while (next < until) {
        const body = JSON.stringify({ token: next++ });
        const expected = JSON.stringify('服务端的数据数据:' + body);
        try {
          (await client.request(body)) === expected ? right++ : wrong++;
        } catch { wrong++; }
      }
    }));
    busy += Number(process.hrtime.bigint() - began) / 1e9;
    if (round < rounds) await new Promise(resolve => setTimeout(resolve, 1700));
  }
  await client.close();
  return { right, wrong, perSecond: Math.round((right + wrong) / busy) };
}

module.exports = { serve, load };
