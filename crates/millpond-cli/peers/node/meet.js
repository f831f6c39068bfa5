// Who meets whom: prints what came of it, and ends with 1 if a bound is broken. `node meet.js MILLPOND`, the program's path.
'use strict';
const { spawn } = require('child_process');
const readline = require('readline');
const { serve, load } = require('./published');

const millpond = process.argv[2];
const failures = [];
const judge = (what, holds) => { console.log(`${holds ? 'ok  ' : 'FAIL'}  ${what}`); if (!holds) failures.push(what); };

// Our server on a free port, ended by its own process id.
function ours() {
  const child = spawn(millpond, ['serve', '--listen', 'tcp://127.0.0.1:0', '--handler', 'reference', '--heartbeat', '1s'], { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise(resolve => readline.createInterface({ input: child.stdout }).on('line', line => {
    const port = /127\.0\.0\.1:(\d+)/.exec(line);
    if (port) resolve({ port: Number(port[1]), stop: () => child.kill('SIGTERM') });
  }));
}

// Our client against a server: JSON lines in, replies out, in order.
function call(port, requests) {
  const child = spawn(millpond, ['call', '--to', `tcp://127.0.0.1:${port}`, '--connections', '8', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let answered = 0, wrong = 0;
  readline.createInterface({ input: child.stdout }).on('line', line => {
    const body = JSON.stringify({ token: answered++ });
    if (line !== JSON.stringify('服务端的数据数据:' + body)) wrong++;
  });
  for (let token = 0; token < requests; token++) child.stdin.write(JSON.stringify({ token }) + '\n');
  child.stdin.end();
  return new Promise(resolve => child.on('close', () => resolve({ answered, wrong })));
}

(async () => {
  const server = await ours();
  const met = await load(server.port, { requests: 20000, callers: 64, gaps: true });
  server.stop();
  console.log(`published client, our server:   ${met.right} right, ${met.wrong} wrong, ${met.perSecond} requests/s`);

  const own = await new Promise(resolve => serve(0, async (port, it) => {
    const seen = await load(port, { requests: 600, callers: 64, gaps: false });
    it.close();
    resolve(seen);
  }));
  console.log(`published client, its server:   ${own.right} right, ${own.wrong} wrong, ${own.perSecond} requests/s`);

  const beaten = await new Promise(resolve => serve(5, async (port, it) => {
    const seen = await call(port, 5000);
    it.close();
    resolve(seen);
  }));
  console.log(`our client, its server with heartbeats every 5 ms:   ${beaten.answered} answered, ${beaten.wrong} wrong`);

  judge('the published client gets no wrong reply from our server', met.wrong === 0 && met.right === 20000);
  judge(`it is ${(met.perSecond / own.perSecond).toFixed(1)} times as fast as with its own (at least 20)`, met.perSecond >= 20 * own.perSecond);
  judge('our client gets no wrong reply from its server', beaten.wrong === 0 && beaten.answered === 5000);
  process.exit(failures.length ? 1 : 0);
})();
