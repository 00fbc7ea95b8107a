# shellcheck shell=bash
# Where things are, and how a step is announced and timed. Sourced by fetch, build and ../stores; never run.

images_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$images_dir/../.." && pwd)
cache=${MERIDIAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meridian}
# One directory for each store: the unpacked upstream software, at once the build context of its image and what
# ../stores starts.
# shellcheck disable=SC2034 # for those who source this
artefacts=$cache/artefacts
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

say() { printf '%s\n' "$*" >&2; }
fail() { say "$0: $*"; exit 1; }

# step "what is done" COMMAND…: announces, runs with its output in a log, says how long it took; shows the log's end on failure.
step() {
  local what=$1 started=$SECONDS log
  shift
  mkdir -p "$cache/logs"
  log=$(mktemp "$cache/logs/step.XXXXXX")
  say "  $what …"
  if "$@" >"$log" 2>&1; then
    say "  $what: $((SECONDS - started)) s"
    rm -f "$log"
  else
    tail -n 40 "$log" >&2
    fail "$what failed after $((SECONDS - started)) s; the whole output is in $log"
  fi
}

# inputs_hash FILE|DIRECTORY…: one hash over the names and contents of everything named.
inputs_hash() {
  (cd "$repository" && find "$@" -type f -not -path '*/node_modules/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
}

# need_packages PACKAGE…: installs the Debian packages that are missing.
need_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing, install them as root: apt-get install ${missing[*]}"
  # Once for all scripts that this one calls.
  if [ -z "${PACKAGE_LISTS_ARE_FRESH-}" ]; then
    step "apt-get update" apt-get update -q
    export PACKAGE_LISTS_ARE_FRESH=yes
  fi
  step "installing ${missing[*]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}
