#: where host
#: needs sshd ssh ssh-keygen unshare ip
#: short
# Somebody logs in over ssh and works in a shell, in a network of its own.
set -e
cd "$WORK"
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f user
cp user.pub authorized
chmod 600 authorized
printf 'Port 2222\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nPidFile %s/pid\nStrictModes no\nPermitRootLogin yes\n' "$WORK" "$WORK" "$WORK" > config
unshare -n sh -ec '
	ip link set lo up
	"$(command -v sshd)" -f config -D &
	server=$!
	trap "kill $server" EXIT
	sleep 1
	echo "ls / > /dev/null; id; exit" | ssh -tt -p 2222 -i user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1'
