#!/bin/sh
# Backs the gateway up while it runs, into one file: store, settings, certificates. Nobody waits for it.
#
#   sh scripts/backup.sh [--to FOLDER] [--keep N]      into ./backups unless told otherwise
#
# With the production file it works from a container of the gateway's image, and takes the balances out of the Redis of
# COMPOSE_PROFILES=scale; without it Node does it here. Exit code 0: the file's path is the last line; 1: nothing was
# written; 2: wrong flags.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
. "$tools/backup/place.sh"

to=backups
wanted=
for argument in "$@"; do
  if [ "$wanted" = to ]; then to=$argument; fi
  wanted=
  case $argument in
    --to) wanted=to ;;
    --to=*) to=${argument#--to=} ;;
  esac
done

gateway=$(container api-gateway)
if [ -z "$gateway" ]; then exec_node backup "$@"; fi

umask 077
mkdir -p "$to"
to=$(cd "$to" && pwd)
redis=$(container redis)
if [ -n "$redis" ]; then
  part=$(mktemp -d "$to/.backup-redis-XXXXXX")
  trap 'rm -rf "$part"' EXIT
  trap 'exit 1' INT TERM HUP
  # Older than the files, so that no row of usage is in neither.
  if ! docker exec "$redis" redis-cli --rdb - >"$part/dump.rdb" 2>"$part/words"; then
    echo "backup: Redis gave no dump: $(tail -n 1 "$part/words")" >&2
    exit 1
  fi
  set -- "$@" --redis-dump "/backups/${part##*/}/dump.rdb"
fi
image=$(docker inspect -f '{{.Image}}' "$gateway")
path=$(in_container "$image" --volumes-from "$gateway:ro" -v "$to:/backups" -- \
  node /app/scripts/backup.js "$@" --to /backups --files-root /app)
echo "$to/${path##*/}"
