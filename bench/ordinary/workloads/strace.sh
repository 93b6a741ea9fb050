#: where host container
#: needs strace
#: short
# A developer traces a program that they start.
set -e
cd "$WORK"
strace -f -o trace sh -c 'ls / > /dev/null; cat /etc/passwd > /dev/null'
test -s trace
