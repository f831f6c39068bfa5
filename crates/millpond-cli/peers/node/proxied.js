// The published client against whatever listens at a port: prints how many replies were right and wrong, as JSON. `node proxied.js PORT REQUESTS CALLERS`
'use strict';
const { load } = require('./published');

const [port, requests, callers] = process.argv.slice(2).map(Number);
load(port, { requests, callers, gaps: false }).then(seen => {
  console.log(JSON.stringify(seen));
  process.exit(seen.wrong === 0 && seen.right === requests ? 0 : 1);
});
