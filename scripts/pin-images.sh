#!/bin/sh
# Names the images that are pulled by digest as well as by tag, in the Dockerfile and the compose files: what was looked at
# is what runs, whatever the tag points to later. Run it again after a tag was changed, and for a tag's newer builds.
#
#   sh scripts/pin-images.sh            asks the registry (docker pull) and writes tag@sha256:...
#   sh scripts/pin-images.sh --check    only says which images have no digest; exit code 1 if any
set -eu
cd "$(dirname "$0")/.."
files='Dockerfile docker-compose.prod.yml docker-compose.yml'

# What is built here has no registry. A digest that is there already is left out.
references() {
  sed -nE 's/^(ARG [A-Z_]+_IMAGE=| *image: )"?([^"$ ]+)"?$/\2/p' $files | grep -v '^api-gateway:' | sort -u
}

case "${1:-}" in
  --check)
    unpinned=$(references | grep -v '@sha256:' | paste -sd ' ' - || true)
    [ -n "$unpinned" ] || exit 0
    echo "- named by tag alone: ${unpinned}: sh scripts/pin-images.sh adds their digests"
    exit 1
    ;;
  '') ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

failed=0
for reference in $(references); do
  tagged=${reference%@*}
  digest=
  if docker pull -q "$tagged" >/dev/null 2>&1; then
    digest=$(docker image inspect -f '{{range .RepoDigests}}{{println .}}{{end}}' "$tagged" |
      sed -nE "s|^${tagged%:*}@(sha256:[0-9a-f]{64})\$|\1|p" | head -n 1)
  fi
  if [ -z "$digest" ]; then
    echo "✗ $tagged: no registry gave its digest; left as it is" >&2
    failed=1
    continue
  fi
  for file in $files; do
    sed -E "s|^(ARG [A-Z_]+_IMAGE=\|( *)image: )\"?$tagged(@sha256:[0-9a-f]{64})?\"?\$|\1$tagged@$digest|" "$file" >"$file.pinned"
    cat "$file.pinned" >"$file"
    rm "$file.pinned"
  done
  echo "✓ $tagged@$digest"
done
exit $failed
