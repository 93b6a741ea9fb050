#: where host container
#: needs npm node
# A package with a program and an install script is installed from a file, and used.
set -e
cd "$WORK"
export HOME="$WORK" npm_config_cache="$WORK/npm" npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm_config_offline=true
mkdir -p lib app
printf '{"name":"ordinary-lib","version":"1.0.0","bin":{"ordinary":"cli.js"},"scripts":{"postinstall":"node -e 0"}}\n' > lib/package.json
printf '#!/usr/bin/env node\nconsole.log("hello")\n' > lib/cli.js
chmod 755 lib/cli.js
(cd lib && npm pack --silent)
printf '{"name":"ordinary-app","version":"1.0.0","scripts":{"start":"ordinary"}}\n' > app/package.json
cd app
npm install --silent ../lib/ordinary-lib-1.0.0.tgz
npm start --silent | grep -q hello
