#: where host container
#: needs logrotate
#: short
# Logs are rotated.
set -e
cd "$WORK"
mkdir log
chmod 755 log
for i in 1 2 3; do echo "line $i" >> log/app.log; done
printf '%s/log/*.log {\n  rotate 3\n  compress\n  copytruncate\n  missingok\n}\n' "$WORK" > conf
chmod 644 conf
logrotate -f -s state conf
test -f log/app.log.1.gz
