# What stands in for the reader of a page: an error ends it, a refusal of the gateway is an error, the editor is told what
# to type, Ctrl-C comes before the next start. Each block's words go to a file of their own.
set -euo pipefail
exec 3>&1 4>&2
outcome=
begin() {
  outcome=$1
  exec >"$1.out" 2>&1
}
end() {
  exec >&3 2>&4
  echo 0 >"$outcome.code"
  outcome=
}
trap 'code=$?; [ -z "$outcome" ] || echo "$code" >"$outcome.code"; kill $(jobs -p) 2>/dev/null' EXIT

# Whoever asks for the status alone looks at it, and -f says the same as --fail-with-body, but not beside it.
curl() {
  case " $* " in
    *' -w '* | *' -fs '*) command curl -sS --max-time 20 "$@" ;;
    *) command curl -sS --fail-with-body --max-time 20 "$@" ;;
  esac
}

# What a reader types into the editor.
nano() { printf '%b' "$EDIT" >>"$1"; }

npm() {
  case $1 in
    start) restart ;;
    test) echo 'this very suite' ;;
    ci | i) [ -n "${REAL_PACKAGES:-}" ] && command npm "$@" --no-audit --no-fund --loglevel=error || link_packages ;;
    *) command npm "$@" ;;
  esac
}

# The packages that the manual names are among those of the tests.
link_packages() {
  [ -n "${REAL_PACKAGES:-}" ] && return 1
  [ -e node_modules ] || ln -s "$CLONE/node_modules" node_modules
}

restart() {
  if [ -s "$FOLDER/server.pid" ]; then
    kill -INT -- "-$(cat "$FOLDER/server.pid")" || true
    for _ in $(seq 100); do
      kill -0 -- "-$(cat "$FOLDER/server.pid")" 2>/dev/null || break
      sleep 0.1
    done
  fi
  (
    cd "$CLONE"
    set -m
    command npm start >>"$FOLDER/server.log" 2>&1 3>&- 4>&- </dev/null &
    echo $! >"$FOLDER/server.pid"
  )
  for _ in $(seq 150); do
    command curl -fsS "http://localhost:$PORT/ready" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  cat "$FOLDER/server.log"
  return 1
}

# Without the libraries of Python (pip install openai anthropic) its blocks pass unread.
python3() {
  if [ -n "${REAL_PACKAGES:-}" ]; then
    command python3 "$@"
  elif [ "$1" = -m ]; then
    mkdir -p "$3/bin" && : >"$3/bin/activate"
  elif [ -n "${PYTHON:-}" ]; then
    command python3 "$@"
  fi
}
pip() { [ -z "${REAL_PACKAGES:-}" ] || command pip "$@"; }

id_of() {
  node "$CLONE/scripts/token-gen.js" --list --json |
    node -e 'process.stdin.toArray().then((parts) => {
      console.log(JSON.parse(parts.join("")).find(({ user }) => user === process.argv[1]).id)
    })' "$1"
}
