#: where host container
#: needs redis-server redis-cli
#: short
# A cache starts, is used, saves and ends.
set -e
cd "$WORK"
redis-server --port 0 --unixsocket "$WORK/socket" --dir "$WORK" --daemonize yes --pidfile "$WORK/pid" > /dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do redis-cli -s "$WORK/socket" ping > /dev/null 2>&1 && break; sleep 0.2; done
redis-cli -s "$WORK/socket" set a 1 | grep -q OK
redis-cli -s "$WORK/socket" save | grep -q OK
redis-cli -s "$WORK/socket" shutdown || true
