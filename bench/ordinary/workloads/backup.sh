#: where host container
#: needs tar gzip
#: short
# A nightly backup, and a look whether it can be restored. rsync takes part where the machine has it.
set -e
cd "$WORK"
mkdir -p data/.ssh restored
cp /etc/passwd /etc/group data/
echo "ssh-ed25519 AAAA backup@example.com" > data/.ssh/authorized_keys
for i in 1 2 3 4 5; do head -c 20000 /dev/urandom > data/file$i; done
tar czf backup.tar.gz data
tar xzf backup.tar.gz -C restored
diff -r data restored/data
if command -v rsync > /dev/null; then rsync -a --delete data/ mirror/; fi
sha256sum backup.tar.gz > backup.sum
sha256sum -c backup.sum
mv backup.tar.gz "backup-$(date +%F).tar.gz"
