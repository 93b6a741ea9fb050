#: where host container
#: needs node
#: short
# A program of Node runs hot, starts a child and serves a request over loopback.
set -e
cd "$WORK"
cat > app.js <<'J'
const http = require('http'), { execFile } = require('child_process');
let t = 0;
for (let i = 0; i < 3e7; i++) t = (t * 31 + i) | 0;
const server = http.createServer((q, s) => execFile('/bin/date', (e, out) => s.end(String(out) + t)));
server.listen(0, '127.0.0.1', () => http.get({ host: '127.0.0.1', port: server.address().port }, r => {
  r.resume(); r.on('end', () => server.close());
}));
J
node app.js
