# shellcheck shell=bash
# How a check is run and told, and what the checks have in common.

passed=0 failed=0
scratch=$(mktemp -d)

# claim WORDS -- COMMAND...: one check. COMMAND may be a function; it stops at its
# first error. What it printed is shown if it fails.
claim() {
  local what='' from status
  while [ "$1" != -- ]; do what+="${what:+ }$1"; shift; done
  shift
  from=$(now)
  set +e
  (set -e; "$@") > "$scratch/out" 2>&1 < /dev/null
  status=$?
  set -e
  if [ $status = 0 ]; then
    passed=$((passed + 1))
    say "pass  $what ($(took "$from"))"
  else
    failed=$((failed + 1))
    say "FAIL  $what ($(took "$from"))"
    tail -n 8 "$scratch/out" | cut -c 1-300 | sed 's/^/        /' >&2
  fi
}

# refuted COMMAND...: it must fail, and say so itself: with a status of 1, not by a
# missing program or a signal.
refuted() {
  local status=0
  "$@" || status=$?
  [ $status = 1 ] || { echo "status $status, expected a refusal: $*"; return 1; }
}

# eventually SECONDS COMMAND...
eventually() {
  local limit=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $limit ] || { echo "not within its time: $*"; return 1; }
    sleep 0.1
  done
}

# These are the host's own kubectl, by way of the door.
k() { "$program/kubectl" "$@"; }
shop() { k -n shop "$@"; }

manifest() { echo "$here/checks/manifests/$1.yaml"; }

# answers CODE NAMESPACE URL: what the client in that namespace gets; 000 is no
# answer at all.
answers() {
  local code
  code=$(k -n "$2" exec client -- curl -sk -o /dev/null -m 2 -w '%{http_code}' "$3" || true)
  [ "$code" = "$1" ] || { echo "$2 got $code from $3, expected $1"; return 1; }
}
