#!/bin/sh
# Starts HAProxy with what its configuration cannot find out or take apart by itself.
set -eu

# A kernel without IPv6 refuses the second pair of sockets.
if [ -e /proc/net/if_inet6 ]; then export WITH_IPV6=1; fi
# Lists with commas, as .env has them, in words.
words() { echo "$1" | tr -s ', ' '  ' | sed 's/^ //; s/ $//'; }
trusted=$(words "${EDGE_TRUSTED_PROXIES:-}")
if [ -n "$trusted" ]; then export TRUSTED_PROXIES="$trusted"; fi
forwarding=$(words "${EDGE_PROXY_PROTOCOL:-}")
if [ -n "$forwarding" ]; then export PROXY_PROTOCOL="$forwarding"; fi
exec haproxy -db -f /edge/haproxy.cfg
