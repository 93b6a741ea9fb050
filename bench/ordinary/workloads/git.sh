#: where host container
#: needs git
#: short
# A repository is made, cloned and updated, with a hook.
set -e
cd "$WORK"
export HOME="$WORK" GIT_CONFIG_NOSYSTEM=1
git config --global user.email nobody@example.com
git config --global user.name nobody
git config --global protocol.file.allow always
git init -q -b main one
cd one
printf '#!/bin/sh\nexit 0\n' > .git/hooks/pre-commit
chmod 755 .git/hooks/pre-commit
echo text > file
git add file
git commit -q -m first
cd ..
git clone -q "file://$WORK/one" two
cd one
echo more >> file
git commit -q -a -m second
cd ../two
git pull -q
git log --oneline | wc -l | grep -q 2
git gc -q
