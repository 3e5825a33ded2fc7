#!/bin/sh
# Starts HAProxy with what its configuration cannot find out or take apart by itself.
set -eu

# A kernel without IPv6 refuses the second pair of sockets.
if [ -e /proc/net/if_inet6 ]; then export WITH_IPV6=1; fi
# Lists with commas, as .env has them, one entry a line: a line of its configuration holds 64 words at most, and a network
# that passes things on may have hundreds of ranges.
lines() { echo "$1" | tr -s ', ' '\n\n' | sed '/^$/d'; }
trusted=$(lines "${EDGE_TRUSTED_PROXIES:-}")
forwarding=$(lines "${EDGE_PROXY_PROTOCOL:-}")
if [ -n "$trusted$forwarding" ]; then lists=$(mktemp -d); fi
if [ -n "$trusted" ]; then
  export TRUSTED_PROXIES="$lists/trusted"
  echo "$trusted" >"$TRUSTED_PROXIES"
fi
if [ -n "$forwarding" ]; then
  export PROXY_PROTOCOL="$lists/forwarding"
  echo "$forwarding" >"$PROXY_PROTOCOL"
fi
exec haproxy -db -f /edge/haproxy.cfg
