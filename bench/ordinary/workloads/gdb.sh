#: where host container
#: needs gdb
#: short
# A developer debugs a program of their own.
set -e
cd "$WORK"
gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'break exit' -ex run -ex 'info registers' -ex continue --args /usr/bin/echo hello > trace 2>&1 || { cat trace; exit 1; }
test -s trace
