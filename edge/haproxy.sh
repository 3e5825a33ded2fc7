#!/bin/sh
# Starts HAProxy with what its configuration cannot find out or take apart by itself.
set -eu

# A kernel without IPv6 refuses the second pair of sockets.
if [ -e /proc/net/if_inet6 ]; then export WITH_IPV6=1; fi
proxies=$(echo "${EDGE_TRUSTED_PROXIES:-}" | tr -s ', ' '  ')
if [ -n "${proxies# }" ]; then export TRUSTED_PROXIES="$proxies"; fi
exec haproxy -db -f /edge/haproxy.cfg
