#: where host
#: needs su ps
#: short
# An administrator looks around, and works as another user for a moment.
whoami
id
uname -a
ps aux > /dev/null
last > /dev/null 2>&1 || true
df -h > /dev/null
su nobody -s /bin/sh -c id
