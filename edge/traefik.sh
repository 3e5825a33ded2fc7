#!/bin/sh
# Starts Traefik with the options of docker-compose.prod.yml, and adds those that depend on more than one setting: no
# Compose of before 2 can say "this one, or else that one".
set -eu

set -- "$@" "--certificatesresolvers.letsencrypt.acme.email=${ACME_EMAIL:-${LETSENCRYPT_EMAIL:-}}"
exec traefik "$@"
