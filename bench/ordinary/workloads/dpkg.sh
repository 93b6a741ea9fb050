#: where host container
#: needs dpkg dpkg-deb
#: short
# A package is built, installed, upgraded, used and removed, in a root folder of its own.
set -e
cd "$WORK"
root=$WORK/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/log"
touch "$root/var/lib/dpkg/status"
for version in 1.0 1.1; do
	mkdir -p "hello-$version/DEBIAN" "hello-$version/usr/bin" "hello-$version/etc/cron.d" "hello-$version/lib/systemd/system"
	printf 'Package: hello-ordinary\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: ordinary\n' $version > "hello-$version/DEBIAN/control"
	printf '#!/bin/sh\nset -e\nexit 0\n' > "hello-$version/DEBIAN/postinst"
	chmod 755 "hello-$version/DEBIAN/postinst"
	cp /bin/true "hello-$version/usr/bin/hello-ordinary"
	echo '0 3 * * * root /usr/bin/hello-ordinary' > "hello-$version/etc/cron.d/hello-ordinary"
	printf '[Service]\nExecStart=/usr/bin/hello-ordinary\n' > "hello-$version/lib/systemd/system/hello.service"
	dpkg-deb --root-owner-group -b "hello-$version" "hello-$version.deb"
	dpkg --root="$root" --force-script-chrootless --force-not-root --force-bad-path -i "hello-$version.deb"
	"$root/usr/bin/hello-ordinary"
done
dpkg --root="$root" --force-script-chrootless --force-not-root --force-bad-path -r hello-ordinary
