#: where host container
#: needs find gzip
#: short
# What cron's daily jobs do: clean up, compress, count.
set -e
cd "$WORK"
mkdir -p daily log cache
for i in 1 2 3; do echo "line $i" > log/app.log.$i; touch cache/old$i; done
printf '#!/bin/sh\nfind "$WORK/cache" -type f -delete\n' > daily/clean
printf '#!/bin/sh\ngzip -9 "$WORK"/log/app.log.*\n' > daily/compress
printf '#!/bin/sh\nwc -l /etc/passwd > "$WORK/count"\n' > daily/count
chmod 755 daily/*
for job in daily/*; do sh "$job"; done
if command -v run-parts > /dev/null; then mkdir again; cp daily/count again/; run-parts again; fi
test -s count
