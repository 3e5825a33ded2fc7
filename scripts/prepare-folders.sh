#!/bin/sh
# Run as root in the container "prepare", before the others start: their user (1000) must own what they write,
# however the folders came about: made by Docker, cloned by another user, restored from a backup.
# With "gateway": what docker-compose.gateway.yml has, which has no edge.
set -eu

own() {
  find "$1" \( ! -user 1000 -o ! -group 1000 \) -exec chown -h 1000:1000 {} +
}

case ",${COMPOSE_PROFILES:-}," in
  *,scale,*) mkdir -p src/db/redis src/db/replica-2 src/db/replica-3 src/logs/replica-2 src/logs/replica-3 ;;
esac
own_folder() {
  own "$1"
  chmod 700 "$1"
}
own_folder src/db
own_folder src/logs
[ "${1:-}" != gateway ] || exit 0

node scripts/check-edge.js
own_folder letsencrypt
# Traefik refuses to use a certificate store that others may read.
if [ -f letsencrypt/acme.json ]; then chmod 600 letsencrypt/acme.json; fi
# Of a clone made under a strict umask Traefik and HAProxy could read nothing.
chmod a+rX edge edge/routes.yml edge/haproxy.cfg edge/traefik.sh edge/haproxy.sh
chmod -R a+rX edge/plugins-local
# The operator's own certificates with their keys.
if [ -d edge/certificates ]; then
  own edge/certificates
  chmod -R u=rwX,go= edge/certificates
fi
if [ -f edge/dashboard-users ]; then
  own edge/dashboard-users
  chmod 600 edge/dashboard-users
fi

# Made once, each readable by its user alone; whole or not at all.
keep_secret() {
  if [ -s "$1" ]; then return; fi
  (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$1.new")
  mv "$1.new" "$1"
}
# Prometheus reads the gateways with this key, and each of them by its name.
monitoring=/run/monitoring
if [ -d "$monitoring" ]; then
  gateways='"api-gateway:8088"'
  case ",${COMPOSE_PROFILES:-}," in
    *,scale,*) gateways="$gateways, \"api-gateway-2:8088\", \"api-gateway-3:8088\"" ;;
  esac
  # The operator's own METRICS_KEY opens the same door; taken out of .env it opens nothing any more.
  if [ -n "${METRICS_KEY:-}" ]; then
    touch "$monitoring/key-is-given"
    (umask 077 && printf %s "$METRICS_KEY" >"$monitoring/metrics-key.new")
    mv "$monitoring/metrics-key.new" "$monitoring/metrics-key"
  elif [ -e "$monitoring/key-is-given" ]; then
    rm -f "$monitoring/metrics-key" "$monitoring/key-is-given"
  fi
  keep_secret "$monitoring/metrics-key"
  echo "[{ \"targets\": [$gateways] }]" >"$monitoring/gateways.new"
  mv "$monitoring/gateways.new" "$monitoring/gateways.json"
fi
# What Grafana hides things with.
if [ -d "$monitoring-grafana" ]; then keep_secret "$monitoring-grafana/secret-key"; fi
for folder in "$monitoring" "$monitoring-prometheus" "$monitoring-grafana"; do
  if [ -d "$folder" ]; then
    own "$folder"
    chmod 700 "$folder"
  fi
done
# What Prometheus and Grafana only read, of a clone made under a strict umask.
if [ -d deploy ]; then chmod -R a+rX deploy; fi
