#!/bin/sh
# Puts a backup of scripts/backup.sh back: store, settings, certificates. What is there is set aside, nothing is deleted.
#
#   sh scripts/restore.sh FILE              no gateway may run here
#   sh scripts/restore.sh --check FILE      only says whether it is whole, beside a running one as well
#
# Exit code 0: done; 1: nothing was changed; 2: wrong flags.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
. "$tools/backup/place.sh"

check=
file=
for argument in "$@"; do
  case $argument in
    --check) check=--check ;;
    -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) file=$argument ;;
  esac
done
[ -n "$file" ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -f "$file" ] || { echo "restore: \"$file\" is not there" >&2; exit 1; }

image=
if tar -xzOf "$file" backup.json 2>/dev/null | grep -q '"deployment": "compose"'; then
  gateway=$(container api-gateway)
  if [ -n "$gateway" ]; then
    image=$(docker inspect -f '{{.Image}}' "$gateway")
  else
    # On a new server the image is built, as "up" would.
    image=api-gateway:prod
    docker image inspect "$image" >/dev/null 2>&1 || docker build -q -t "$image" "$(dirname "$tools")" >&2
  fi
fi
if [ -z "$image" ]; then exec_node restore $check "$file"; fi

running=$(docker ps -q --filter "label=com.docker.compose.project.working_dir=$folder")
if [ -z "$check" ] && [ -n "$running" ]; then
  echo 'restore: this deployment runs: first "docker-compose -f docker-compose.prod.yml down" (data stay)' >&2
  exit 1
fi
shelf=$(cd "$(dirname "$file")" && pwd)
said=$(in_container "$image" -e TMPDIR=/deploy -v "$shelf:/backups:ro" -- node /app/scripts/restore.js $check --owner 1000 \
  --start 'docker-compose -f docker-compose.prod.yml up -d' "/backups/${file##*/}")
echo "$said" | sed "s|/deploy/|$folder/|g"
