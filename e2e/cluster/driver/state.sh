# shellcheck shell=bash
# What a cluster is at the moment, from what it left in $home. A file alone proves
# nothing: the machine may have been restarted and the pid given to somebody else.

boot=$(cat /proc/sys/kernel/random/boot_id)

# condition: prints one of
#   absent    there is nothing
#   stale     files of a cluster that does not run any more
#   starting  its processes run, it is not ready yet
#   failed    its processes run, but it gave up becoming ready
#   up
condition() {
  if [ ! -e "$home" ]; then
    echo absent
  elif ! alive "$home"; then
    echo stale
  elif grep -qs ' ready$' "$home/progress"; then
    echo up
  elif grep -qs ' failed ' "$home/progress"; then
    echo failed
  else
    echo starting
  fi
}

# alive HOME: does the first process of that cluster run?
alive() { [ "$(cat "$1/boot" 2> /dev/null)" = "$boot" ] && ours "$(init_pid "$1")" "$1"; }

init_pid() { cat "$1/init.pid" 2> /dev/null; }

# ours PID HOME: is it the control-plane.sh of the cluster in HOME?
ours() {
  [ -n "$1" ] && grep -qszxF "$2/scripts/control-plane.sh" "/proc/$1/cmdline"
}

# settings HOME: the settings of a cluster, as variables.
settings() {
  # shellcheck source=/dev/null
  . "$1/settings"
  networks "$slot"
}

# lock: one command at a time changes a cluster. Whoever inherits the descriptor
# holds the lock, so it is closed for what outlives us.
lock() {
  exec 8> "$clusters/.$cluster.lock"
  flock -n 8 || { say "Waiting for another command on cluster $cluster"; flock 8; }
}

# need_up: for commands that want a running cluster.
need_up() {
  case $(condition) in
    up) settings "$home" ;;
    starting) fail "cluster $cluster is starting; wait for it with: $0 up" ;;
    failed) fail "cluster $cluster did not become ready; see $home/log, then: $0 down" ;;
    *) fail "cluster $cluster is not up; start it with: $0 up" ;;
  esac
}

# inside COMMAND...: in the namespaces of node0.
inside() { nsenter -t "$(init_pid "$home")" -m -n -p -u -i --wd="$PWD" -- "$@"; }

# inside_node N COMMAND...: in the namespaces of node N. Its pid counts in the
# cluster's pid namespace, so the way leads through node0.
inside_node() {
  local n=$1
  shift
  if [ "$n" = 0 ]; then
    inside "$@"
  else
    inside nsenter -t "$(cat "$home/node$n/init.pid")" -m -n -p -u -i --wd="$PWD" -- "$@"
  fi
}
