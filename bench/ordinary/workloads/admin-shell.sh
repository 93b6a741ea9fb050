#: where container
#: short
#: operator
# An operator looks around in a container.
whoami
id
uname -a
cat /etc/os-release
ls -la / /etc /tmp
env
mount | head -5
cat /proc/1/cmdline
df -h || true
ps aux || true
