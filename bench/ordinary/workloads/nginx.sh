#: where host container
#: needs nginx curl
#: short
# A web server starts, serves, takes a new configuration and ends.
set -e
cd "$WORK"
port=$((20000 + $$ % 20000))
mkdir www
echo hello > www/index.html
printf 'pid %s/pid;\nerror_log %s/error;\nevents {}\nhttp { access_log off; server { listen 127.0.0.1:%s; root %s/www; } }\n' "$WORK" "$WORK" $port "$WORK" > conf
nginx -c "$WORK/conf"
curl -fsS --retry 20 --retry-connrefused "http://127.0.0.1:$port/" | grep -q hello
nginx -c "$WORK/conf" -s reload
nginx -c "$WORK/conf" -s quit
