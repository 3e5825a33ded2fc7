#!/bin/sh
# Builds the image and replaces the gateways of the profile "scale" one after the other, each when the one before it
# serves: no request fails.
set -eu
cd "$(dirname "$0")/.."
. scripts/command/env.sh
# As Compose reads it: the shell's own, else the line in .env.
profiles=${COMPOSE_PROFILES-$(setting COMPOSE_PROFILES)}
case ",$profiles," in
  *,scale,*) ;;
  *)
    echo 'COMPOSE_PROFILES=scale is not in .env: there is one gateway alone, and its update is scripts/upgrade.sh' >&2
    exit 1
    ;;
esac
stack=${STACK_NAME-$(setting STACK_NAME)}
gateway=api-gateway-${stack:-prod}
choose_compose

until_ready() {
  for _ in $(seq 60); do
    if docker exec "$1" curl -fsS -o /dev/null http://127.0.0.1:8088/ready 2>/dev/null; then return; fi
    sleep 1
  done
  echo "$1 is not ready after a minute; the others serve on. See: docker logs $1" >&2
  exit 1
}

if [ "${BUILD:-yes}" = yes ]; then $COMPOSE build api-gateway; fi
for replica in '' -2 -3; do
  $COMPOSE up -d --no-deps --force-recreate "api-gateway$replica"
  until_ready "$gateway$replica"
  # Traefik asks every 2 s: only then has it this one back.
  sleep 5
  echo "$gateway$replica is updated"
done
