#: where host container
#: short
# A monitoring agent reads what /proc says about all processes.
set -e
for round in 1 2 3; do
	for p in /proc/[0-9]*; do
		cat "$p/stat" "$p/status" "$p/cmdline" "$p/io" "$p/cgroup" "$p/maps" > /dev/null 2>&1 || true
		readlink "$p/exe" "$p/cwd" > /dev/null 2>&1 || true
	done
	cat /proc/loadavg /proc/meminfo /proc/net/tcp /proc/net/dev /proc/mounts > /dev/null
done
ps aux > /dev/null 2>&1 || true
