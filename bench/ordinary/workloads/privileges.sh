#: where host container
#: needs setpriv
#: short
# An entrypoint prepares its folder as root and becomes the application as an ordinary user.
set -e
cd "$WORK"
mkdir state
chown 65534:65534 state
chmod 750 state
chmod 755 "$WORK"
setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs sh -c 'id -u | grep -q 65534; : > state/pid'
