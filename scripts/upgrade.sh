#!/bin/sh
# Updates the gateway of docker-compose.prod.yml without refusing a request, or goes back to the image before:
#
#   git pull && sh scripts/upgrade.sh
#   sh scripts/upgrade.sh --rollback
#
# A second gateway of the new image (named like the first one, with "-next") works on the first one's files while that one
# ends, and has them from then on until the service itself is replaced. An image that does not become ready changes
# nothing. Killed in the middle, it is run again. With COMPOSE_PROFILES=scale it hands over to rolling-update.sh.
set -eu
cd "$(dirname "$0")/.."
. scripts/command/env.sh

say() { printf '%s upgrade: %s\n' "$(date +%T)" "$*"; }
fail() {
  printf '%s upgrade: %s\n' "$(date +%T)" "$*" >&2
  exit 1
}

case "$*" in
  '' | --rollback) ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    case "$*" in --help | -h) exit 0 ;; *) exit 2 ;; esac
    ;;
esac
[ -f .env ] || fail 'there is no .env here: see docs/production.md'
# As Compose reads it: the shell's own, else the line in .env.
profiles=${COMPOSE_PROFILES-$(setting COMPOSE_PROFILES)}
choose_compose
export COMPOSE
routes=edge/routes.yml
# Two at once would take the files from each other.
exec 9<"$0"
if command -v flock >/dev/null 2>&1; then
  flock -n 9 || fail 'another upgrade runs: wait until it has ended'
fi

field() { docker inspect -f "$2" "$1" 2>/dev/null; }
is_running() { [ "$(field "$1" '{{.State.Running}}')" = true ]; }

# The service's own container, which a one-off of the same service is not.
own_container() {
  for id in $($COMPOSE ps -q api-gateway 2>/dev/null); do
    case "$(field "$id" '{{index .Config.Labels "com.docker.compose.oneoff"}}')" in
      [Tt]rue) ;;
      *) field "$id" '{{.Name}}' | tr -d / && return ;;
    esac
  done
}

# Whether it takes requests; gives up at once on one that has ended.
is_ready() { docker exec "$1" curl -fsS -o /dev/null "http://127.0.0.1:8088/ready" >/dev/null 2>&1; }
until_ready() {
  seconds=0
  while [ "$seconds" -lt "${UPGRADE_PATIENCE:-60}" ]; do
    if is_ready "$1"; then return 0; fi
    if [ "$(field "$1" '{{.State.Running}} {{.RestartCount}}')" != 'true 0' ]; then break; fi
    sleep 1
    seconds=$((seconds + 1))
  done
  docker logs --tail 10 "$1" >&2 2>&1 || true
  return 1
}

# The edge asks this gateway alone from now on. Renamed into place: Traefik never reads half of it.
route_to() {
  mark='# for the moment: scripts/upgrade.sh'
  cp -p "$routes" "$routes.new"
  sed "s|- url: http://api-gateway:8088\$|- url: http://$1:8088 $mark|; s|- url: http://.* $mark|- url: http://$1:8088 $mark|" \
    "$routes" | sed "s|- url: http://api-gateway:8088 $mark|- url: http://api-gateway:8088|" >"$routes.new"
  if cmp -s "$routes" "$routes.new"; then
    rm "$routes.new"
    return
  fi
  mv "$routes.new" "$routes"
  # Longer than Traefik takes to read it and to ask both gateways how they are.
  sleep "${UPGRADE_SETTLE:-4}"
}

# What is in it runs to its end, and its files go to who is there.
remove_next() {
  if is_running "$next"; then docker stop -t 45 "$next" >/dev/null; fi
  docker rm -f "$next" >/dev/null 2>&1 || true
}

replace_service() { $COMPOSE up -d --no-deps --no-build --force-recreate api-gateway >/dev/null 2>&1; }

# Back to the image that ran before; the service itself is as it was, or is made again of it.
go_back() {
  say "going back to the image that ran before ($(short "$old"))"
  docker tag "$old" "$image"
}
short() { printf '%.19s' "$1"; }

# Whether both know how one works on the other's files.
can_hand_over() {
  docker exec "$name" test -S src/db/guests.sock 2>/dev/null &&
    docker run --rm --network none --entrypoint test "$new" -e src/stores/host.ts
}

stop_and_start() {
  say 'one of the two is of a release that hands nothing over: the old one is stopped, then the new one starts (some seconds)'
  replace_service || true
  if until_ready "$name"; then return; fi
  go_back
  replace_service || true
  until_ready "$name" || fail "neither image becomes ready: docker logs $name"
  fail 'the new image does not become ready: the one before serves again'
}

hand_over() {
  say "starting $next of the new image beside $name"
  docker rm -f "$next" >/dev/null 2>&1 || true
  $COMPOSE run -d --no-deps --name "$next" api-gateway >/dev/null 2>&1 || true
  if ! until_ready "$next"; then
    docker rm -f "$next" >/dev/null 2>&1 || true
    go_back
    fail "the new image does not become ready: $name serves on as it was"
  fi
  say "$next serves; replacing $name, whose requests run to their end"
  route_to "$next"
  replace_service || true
  if ! until_ready "$name"; then
    go_back
    replace_service || true
    until_ready "$name" || fail "$name does not become ready, $next serves on: mend it (docker logs $name) and run this again"
    route_to api-gateway
    remove_next
    fail 'the new image does not become ready as the service: the one before serves again'
  fi
  route_to api-gateway
  say "$name serves; $next ends"
  remove_next
}

name=$(own_container)
case ",$profiles," in *,scale,*) replicas=yes ;; *) replicas=no ;; esac
if [ -z "$name" ]; then
  say 'no gateway is there yet: everything is started'
  $COMPOSE up -d --build
  exit
fi
# Of this file it would have no port, and the web server in front nobody to ask.
case "$(field "$name" '{{index .Config.Labels "com.docker.compose.project.config_files"}}')" in
  *docker-compose.gateway.yml*)
    fail "$name is of docker-compose.gateway.yml: docker-compose -f docker-compose.gateway.yml up -d --build"
    ;;
esac
next=$name-next
image=$(field "$name" '{{.Config.Image}}')

# What a killed run has left.
if [ -n "$(field "$next" '{{.Id}}')" ] || grep -q 'for the moment: scripts/upgrade.sh' "$routes"; then
  say 'a run before this one was cut short: it is brought to its end first'
  if ! is_running "$name" || ! is_ready "$name"; then
    if is_running "$next" && is_ready "$next"; then route_to "$next"; fi
    replace_service || true
    until_ready "$name" || fail "$name does not become ready: docker logs $name"
  fi
  route_to api-gateway
  remove_next
fi

old=$(field "$name" '{{.Image}}')
if [ "$*" = --rollback ]; then
  new=$(field "$image-previous" '{{.Id}}') || fail "there is no image $image-previous to go back to"
  docker tag "$new" "$image"
  say "going back to $image-previous ($(short "$new"))"
else
  say 'building the image'
  $COMPOSE build api-gateway || {
    docker tag "$old" "$image"
    fail "the image could not be built: $name serves on as it was"
  }
  new=$(field "$image" '{{.Id}}')
  commit=$(git rev-parse --short HEAD 2>/dev/null || date +%Y%m%d-%H%M%S)
  docker tag "$new" "$image-$commit"
  say "built $image-$commit ($(short "$new"))"
fi

if [ "$replicas" = yes ]; then
  BUILD=no sh scripts/rolling-update.sh || {
    go_back
    fail 'not all replicas are updated, the others serve on: mend it and run this again, or with --rollback'
  }
elif ! is_running "$name"; then
  say "$name does not run: it is started"
  replace_service || true
  until_ready "$name" || fail "$name does not become ready: docker logs $name"
elif can_hand_over; then
  hand_over
else
  stop_and_start
fi
if [ "$old" != "$new" ]; then docker tag "$old" "$image-previous"; fi
# The same image in other containers; Traefik, HAProxy and Redis stay untouched.
if [ -n "$($COMPOSE ps -q certificates 2>/dev/null)" ]; then
  $COMPOSE up -d --no-deps --no-build certificates >/dev/null 2>&1 || true
fi
say "done; back again: sh scripts/upgrade.sh --rollback"
