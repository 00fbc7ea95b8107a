# shellcheck shell=bash
# How every script says what it does, how long it took and why it stopped. All of it goes to standard error: standard output
# is for what a caller wants to read. Sourced, never run; `cache` is where logs of failed steps are kept.

# shellcheck disable=SC2034 # for those who source this
cache=${MERIDIAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meridian}

# say WORDS…: a line of progress.
say() { printf '%s\n' "$*" >&2; }

# fail WORDS…: ends the program.
fail() { say "$0: $*"; exit 1; }

now() { date +%s.%N; }

# took FROM [TO]: the seconds between two times of `now`, to a tenth.
took() { awk -v a="$1" -v b="${2:-$(now)}" 'BEGIN { printf "%.1f s", b - a }'; }

# step "what is done" COMMAND…: announces, runs with its output in a log, says how long it took; shows the log's end on failure.
step() {
  local what=$1 from log status
  shift
  from=$(now)
  mkdir -p "$cache/logs"
  log=$(mktemp "$cache/logs/step.XXXXXX")
  say "  $what …"
  # Not as a condition: within one, a function would not stop at its first error.
  set +e
  (set -e; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if ((status == 0)); then
    say "  $what: $(took "$from")"
    rm -f "$log"
  else
    tail_of "$log"
    fail "$what failed after $(took "$from"); the whole output is in $log"
  fi
}

# tail_of FILE: the end of a log, named and indented.
tail_of() {
  [ -s "$1" ] || return 0
  say "--- the end of $1"
  tail -n 40 "$1" | cut -c 1-400 | sed 's/^/    /' >&2
}

# need_packages PACKAGE…: installs the Debian packages that are missing.
need_packages() {
  local package missing=()
  for package in "$@"; do
    # A program of that name serves as well: Debian's containerd and runc would displace Docker's.
    command -v "$package" >/dev/null && continue
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
  # Our node runs a containerd of its own.
  if [[ " ${missing[*]} " = *" containerd "* ]] && [ -d /run/systemd/system ]; then
    step "stopping the host's own containerd" systemctl disable --now containerd.service
  fi
}
