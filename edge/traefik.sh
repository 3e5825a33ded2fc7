#!/bin/sh
# Starts Traefik with the options of docker-compose.prod.yml, and adds those that depend on more than one setting or may be
# left out: a Compose of before 2 cannot say that.
set -eu

resolver=--certificatesresolvers.letsencrypt.acme
set -- "$@" "$resolver.email=${ACME_EMAIL:-${LETSENCRYPT_EMAIL:-}}"
# Behind a proxy that ends TLS only HTTP-01 gets through. With "off" nothing is ordered (scripts/certificates).
case ${ACME_CHALLENGE:-tls} in
  http) set -- "$@" "$resolver.httpchallenge.entrypoint=web" ;;
  *) set -- "$@" "$resolver.tlschallenge=true" ;;
esac
proxies=$(echo "${EDGE_TRUSTED_PROXIES:-}" | tr -d ' ')
if [ -n "$proxies" ]; then set -- "$@" "--entrypoints.websecure.forwardedheaders.trustedips=$proxies"; fi

# For edge/routes.yml: each NAME.crt of the operator's own with its NAME.key.
EDGE_CERTIFICATES=
for file in /edge/certificates/*.crt; do
  if [ -f "$file" ]; then EDGE_CERTIFICATES="$EDGE_CERTIFICATES $(basename "$file" .crt)"; fi
done
export EDGE_CERTIFICATES
exec traefik "$@"
