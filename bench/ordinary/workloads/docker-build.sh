#: where host
#: needs docker
# A container image is built from a folder.
set -e
cd "$WORK"
export DOCKER_BUILDKIT=0 DOCKER_CONFIG="$WORK/docker"
mkdir -p image "$DOCKER_CONFIG"
cp /bin/true image/true
printf 'FROM scratch\nLABEL dev.vedette.ordinary=1\nCOPY true /true\nENTRYPOINT ["/true"]\n' > image/Dockerfile
id=$(docker build -q image)
trap 'docker rmi -f "$id" > /dev/null' EXIT
docker image inspect "$id" > /dev/null
