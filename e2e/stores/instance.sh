# shellcheck shell=bash
# One instance of the stores: its ports, its directory, and how one of its processes is started, known again and ended.
# Sourced by definitions.sh and env; never run.
#
# MERIDIAN_STORES_INSTANCE (0 to 9, default 0) tells instances apart: a test that kills stores takes one of its own and
# disturbs nobody. Each instance has its ports (the default's plus 100 a number) and its directory.

# shellcheck source=SCRIPTDIR/../images/places.sh
. "$(dirname "${BASH_SOURCE[0]}")/../images/places.sh"
# In the order in which they start: temporal keeps its state in postgres.
all_stores=(postgres clickhouse kafka redis buffer objectstore temporal)

# shellcheck disable=SC2034 # for those who source this
stores_dir=$repository/e2e/stores
instance=${MERIDIAN_STORES_INSTANCE:-0}
[[ $instance =~ ^[0-9]$ ]] || fail "MERIDIAN_STORES_INSTANCE is ${instance@Q}, but must be 0 to 9"
state=$cache/stores/$instance

port() { # STORE
  local base
  case $1 in
    postgres) base=25432 ;; clickhouse) base=28123 ;; clickhouse-native) base=29000 ;;
    kafka) base=29092 ;; kafka-controller) base=29093 ;; redis) base=26379 ;;
    buffer) base=28000 ;; objectstore) base=27070 ;; temporal) base=27233 ;;
    *) fail "no port is known for $1" ;;
  esac
  echo $((base + 100 * instance))
}

# Loopback only, thrown away with the instance: not a secret, but every store asks for it.
export STORES_PASSWORD=loopback-only

# launch STORE COMMAND…: starts a process of its own session and records who it is.
launch() {
  local store=$1 pid
  shift
  mkdir -p "$state/$store"
  setsid "$@" >"$state/$store/log" 2>&1 </dev/null 9>&- &
  pid=$!
  # A pid is given again to others; together with the time of its start it is a name for good.
  echo "$pid $(started_at "$pid")" >"$state/$store/process"
}

# started_at PID: its start in clock ticks since boot, empty when there is no such process.
started_at() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  # The second field is the name in parentheses and may hold anything; the start is the 20th after it.
  read -ra fields <<<"${stat##*) }"
  [ "${fields[0]}" = Z ] || echo "${fields[19]}"
}

# pid_of STORE: the pid of the running process that we started, or nothing.
pid_of() {
  local pid start
  read -r pid start 2>/dev/null <"$state/$1/process" || return 0
  [ -z "$start" ] || [ "$(started_at "$pid")" != "$start" ] || echo "$pid"
}

# end STORE [SIGNAL]: ends it and waits until it is gone; after 20 s it is killed.
end() {
  local pid children=() waited=0
  pid=$(pid_of "$1")
  [ -n "$pid" ] || return 0
  # A crash takes all of Postgres' processes with it; told politely, it ends them itself.
  [ "${2-}" != KILL ] || mapfile -t children < <(pgrep -P "$pid")
  kill "-${2:-$(stop_signal "$1")}" "$pid"
  ((${#children[@]} == 0)) || kill -KILL "${children[@]}" 2>/dev/null || true
  until [ -z "$(pid_of "$1")" ]; do
    sleep 0.1
    if ((++waited == 200)); then
      say "  $1 (pid $pid) did not end within 20 s: killed"
      kill -KILL "$pid"
    fi
  done
}

# Postgres waits for its clients on SIGTERM and hangs up on them on SIGINT.
stop_signal() { if [ "$1" = postgres ]; then echo INT; else echo TERM; fi; }

# locked: only one script at a time works on an instance; the others wait. The lock ends with the script: no store
# inherits it (9>&- in launch).
locked() {
  mkdir -p "$state"
  exec 9>"$state/.lock"
  flock -n 9 || { say "instance $instance of the stores is being worked on, waiting …"; flock 9; }
}

check_names() {
  local name
  for name in "$@"; do port "$name" >/dev/null; done
}

# What this script has started and not yet reported.
launched=

# start STORE: prepares it and starts it; nothing when it runs already.
start() {
  local log
  if [ -n "$(pid_of "$1")" ]; then
    say "  $1 runs already"
    return
  fi
  mkdir -p "$state/$1"
  log=$state/$1/prepare.log
  # Not "… || fail": bash would then ignore every failure inside but the last one.
  set +e
  (
    set -e
    "prepare_$1"
  ) >"$log" 2>&1
  local outcome=$?
  set -e
  if ((outcome != 0)); then
    tail -n 30 "$log" >&2
    fail "preparing $1 failed; the whole output is in $log"
  fi
  date +%s%N >"$state/$1/started"
  # In a subshell: what a store finds in its environment is no business of the next one.
  ("run_$1")
  launched+=" $1 "
}

# start_all STORE…: starts them in their order and waits until all answer.
start_all() {
  local store
  for store in "${all_stores[@]}"; do
    [[ " $* " == *" $store "* ]] || continue
    start "$store"
    # Temporal's schema goes into Postgres, which therefore has to serve first.
    [ "$store" != postgres ] || await postgres
  done
  await "$@"
}

# await STORE…: waits until all of them answer, and says how long each took. Two minutes are for a machine that compiles
# at the same time.
await() {
  local store waiting=("$@") still ticks=0
  while ((${#waiting[@]})); do
    still=()
    for store in "${waiting[@]}"; do
      if "answers_$store" >/dev/null 2>&1; then
        [[ $launched != *" $store "* ]] ||
          say "  $store answers on port $(port "$store"), $((($(date +%s%N) - $(<"$state/$store/started")) / 1000000)) ms after its start"
        launched=${launched/ $store / }
      elif [ -z "$(pid_of "$store")" ]; then
        give_up "$store" "ended"
      elif ((ticks > 1200)); then
        give_up "$store" "does not answer"
      else
        still+=("$store")
      fi
    done
    waiting=("${still[@]}")
    ((${#waiting[@]} == 0)) || sleep 0.1
    ((++ticks))
  done
}

give_up() { # STORE WHAT
  tail -n 30 "$state/$1/log" >&2
  fail "$1 $2; its log is $state/$1/log"
}
