# Read by the shell scripts: what a line of .env says to them is what it says to Compose, and which Compose that is.

# setting NAME: its last line, without a byte-order mark, blanks, quotes and a comment; nothing where there is none.
setting() {
  mark=$(printf '\357\273\277')
  LC_ALL=C sed -n "1s/^$mark//; s/^[[:blank:]]*$1=[[:blank:]]*[\"']\{0,1\}\([A-Za-z0-9_,.-]*\).*/\1/p" .env | tail -n 1
}

# choose_compose: COMPOSE runs the production file, unless the shell has said by what.
choose_compose() {
  if [ -n "${COMPOSE:-}" ]; then return; fi
  COMPOSE=docker-compose
  # Compose 1 cannot replace containers of newer Docker engines.
  if docker compose version >/dev/null 2>&1; then COMPOSE='docker compose'; fi
  COMPOSE="$COMPOSE -f docker-compose.prod.yml"
}
