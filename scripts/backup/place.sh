# Read by backup.sh and restore.sh: where the deployment is, and how to reach it without Node.

# The folder of the deployment: this one where there is one, else the project's.
folder=$PWD
if [ ! -e "$folder/.env" ] && [ ! -d "$folder/src/db" ] && [ -z "${DB_DIR:-}" ]; then folder=$(dirname "$tools"); fi

# The container of a service of this very folder's docker-compose.prod.yml, whatever the project is called; nothing where
# there is none, or no Docker.
container() {
  [ -z "${DB_DIR:-}" ] || return 0
  docker ps -aq --filter "label=com.docker.compose.project.working_dir=$folder" \
    --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False 2>/dev/null | head -n 1
}

# exec_node NAME [flags]: the command of that name, by the Node of this machine.
exec_node() {
  name=$1
  shift
  if ! command -v node >/dev/null; then
    echo "$name: there is no Node here, and no container of a gateway that was started in $folder" >&2
    exit 1
  fi
  exec node "$tools/$name.js" "$@"
}

# in_container IMAGE [docker's flags] -- COMMAND: beside the others, with the folder and no network. Root, since the files
# have several owners; it may look past them and give files away, and nothing else.
in_container() {
  image=$1
  shift
  count=$#
  flags=
  set -- "$@" run --rm --init --network none --read-only --cap-drop ALL --cap-add DAC_OVERRIDE --cap-add CHOWN \
    --cap-add FOWNER --security-opt no-new-privileges --user 0:0 --memory 512m --tmpfs /tmp \
    -e DB_DIR=src/db -e HOME=/tmp -v "$folder:/deploy" -w /deploy
  while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
    if [ "$argument" = -- ] && [ -z "$flags" ]; then
      flags=over
      set -- "$@" "$image"
    else
      set -- "$@" "$argument"
    fi
  done
  docker "$@"
}
