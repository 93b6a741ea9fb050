#: where host container
#: needs curl busybox
#: short
# An entrypoint waits for its configuration server, fetches the configuration and becomes the application.
set -e
cd "$WORK"
mkdir www
printf 'LOG_LEVEL=info\nGREETING=hello\n' > www/app.env
port=$((20000 + $$ % 20000))
busybox httpd -f -p 127.0.0.1:$port -h "$WORK/www" &
server=$!
trap 'kill $server 2> /dev/null || true' EXIT
curl -fsS --retry 20 --retry-connrefused --retry-delay 1 -o app.env "http://127.0.0.1:$port/app.env"
set -a
. ./app.env
set +a
sed "s/@LEVEL@/$LOG_LEVEL/" > app.conf <<'C'
level = @LEVEL@
C
grep -q info app.conf
sh -c 'test "$GREETING" = hello'
