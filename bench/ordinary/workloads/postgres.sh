#: where host container
#: needs initdb pg_ctl psql setpriv
# A database is made, started, used, restarted as after an upgrade, and stopped, by an ordinary user.
set -e
cd "$WORK"
mkdir db
chown 65534:65534 db
chmod 755 "$WORK"
as() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$WORK/db" LC_ALL=C "$@"; }
as initdb -D "$WORK/db/data" -A trust -U app > /dev/null
start() { as pg_ctl -D "$WORK/db/data" -w -o "-c listen_addresses= -c unix_socket_directories=$WORK/db" -l "$WORK/db/log" "$@" > /dev/null; }
start start
trap 'start stop -m immediate || true' EXIT
as psql -q -h "$WORK/db" -U app postgres -c 'create table t(x int); insert into t select generate_series(1, 10000); analyze t;'
as psql -At -h "$WORK/db" -U app postgres -c 'select count(*) from t' | grep -q 10000
start restart
as psql -At -h "$WORK/db" -U app postgres -c 'select count(*) from t' | grep -q 10000
start stop
trap - EXIT
