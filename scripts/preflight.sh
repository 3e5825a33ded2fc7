#!/bin/sh
# scripts/preflight.js on a server that has Docker but no Node: the same checks from a container, with the same flags.
set -eu
cd "$(dirname "$0")/.."
. scripts/command/env.sh
image=${NODE_IMAGE:-$(sed -n 's/^ARG NODE_IMAGE=//p' Dockerfile)}
compose=$( (docker-compose version --short || docker compose version --short) 2>/dev/null || true)
stack=$(setting STACK_NAME 2>/dev/null || true)
docker=$(docker version --format '{{.Server.Version}}' 2>/dev/null) || {
  echo '✗ no Docker engine answers: install it (get.docker.com), start it, or run this with sudo'
  exit 1
}
exec docker run --rm --network host -v "$PWD:/deploy:ro" -w /deploy \
  -e "DOCKER_VERSION=$docker" \
  -e "COMPOSE_VERSION=$compose" \
  -e "TRAEFIK_RUNNING=$(docker ps -q --filter "name=^traefik-${stack:-prod}\$")" \
  "$image" node scripts/preflight.js "$@"
