# shellcheck shell=bash
# Starting the daemons of a node and waiting for things to come true.
# Expects $home and $log.

# start NAME COMMAND...: runs a daemon, and again when it ends. Its output goes to
# $log/NAME.log; each end is a line in $home/restarts, which `status` counts.
start() {
  local name=$1
  shift
  supervise "$name" "$@" >> "$log/$name.log" 2>&1 &
}

supervise() {
  local name=$1 status
  shift
  while :; do
    status=0
    "$@" || status=$?
    echo "$(date +%FT%T) $name ended with status $status; starting it again" | tee -a "$home/restarts"
    sleep 1
  done
}

# wait_for SECONDS WHAT LOG COMMAND...: until COMMAND succeeds; else the cluster has
# failed, and the driver shows the end of $log/LOG.log.
wait_for() {
  local limit=$((SECONDS + $1)) what=$2 name=$3
  shift 3
  until "$@" > /dev/null 2>&1; do
    hopeless && fail "no $what, for $culprit keeps ending" "$culprit"
    [ $SECONDS -lt $limit ] || fail "no $what in time" "$name"
    sleep 0.1
  done
}

# hopeless: has a daemon ended so often that waiting is of no use? Names it in $culprit.
hopeless() {
  culprit=$(awk '++ends[$2] == 5 { print $2; exit }' "$home/restarts" 2> /dev/null) && [ -n "$culprit" ]
}

# reached STAGE WORDS...: tells the driver how far we are.
reached() { echo "$(date +%s.%N) $*" >> "$home/progress"; }

# fail WHY LOG: leaves everything as it is, to be looked at.
fail() {
  reached "failed $2 $1"
  hold
}

# hold: until we are killed; as PID 1 bash reaps orphans in the meantime.
hold() {
  while :; do
    sleep 3600 &
    wait $! || true
  done
}
