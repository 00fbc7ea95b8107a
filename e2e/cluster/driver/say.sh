# shellcheck shell=bash
# Progress and errors, in one shape everywhere. All of it goes to standard error:
# standard output is for what a caller wants to read.

# say WORDS...: a line of progress.
say() { printf '%s\n' "$*" >&2; }

# took FROM [TO]: the seconds between two times of `now`, to a tenth.
took() { awk -v a="$1" -v b="${2:-$(now)}" 'BEGIN { printf "%.1f s", b - a }'; }

now() { date +%s.%N; }

# step WORDS -- COMMAND...: runs COMMAND and tells how long it took. Its output is
# shown only when it fails.
step() {
  local what='' from out status
  while [ "$1" != -- ]; do what+="${what:+ }$1"; shift; done
  shift
  from=$(now)
  out=$(mktemp)
  # not as a condition: within one, a function would not stop at its first error
  set +e
  (set -e; "$@") > "$out" 2>&1 < /dev/null
  status=$?
  set -e
  if [ $status = 0 ]; then
    say "  $what: $(took "$from")"
    rm -f "$out"
  else
    tail -n 40 "$out" >&2
    rm -f "$out"
    die "$what: failed after $(took "$from"); the end of its output is above"
  fi
}

# die WORDS...: ends the program.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# tail_of FILE: the end of a log, named and indented, for use before die.
tail_of() {
  [ -s "$1" ] || return 0
  say "--- the end of $1"
  tail -n 15 "$1" | cut -c 1-400 | sed 's/^/    /' >&2
}
