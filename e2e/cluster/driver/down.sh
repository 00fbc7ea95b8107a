# shellcheck shell=bash
# `cluster down`: from anything to nothing. What it must not leave behind: a process,
# mount, device, route, rule, cgroup or file; ./check compares before and after.

down() {
  local from state
  from=$(now)
  mkdir -p "$clusters"
  lock
  state=$(condition)
  if [ "$state" = absent ]; then
    say "Cluster $cluster is not there."
  else
    say "Taking down cluster $cluster ($state)"
    tear_down
    say "Cluster $cluster is gone after $(took "$from")."
  fi
}

tear_down() {
  [ ! -e "$home/settings" ] || settings "$home"
  # The door of a cluster that died went with it; one of that name is another's.
  if alive "$home"; then
    close_door || fail "cannot remove the network device $door; try: ip link delete $door"
    kill_init
  fi
  remove_cgroup "$cgroup" || fail "processes of cluster $cluster are left in its cgroup; end them, then: $0 down"
  rm -rf --one-file-system "$home"
}

# kill_init: PID 1 of the namespaces takes everything in them along. Its parent,
# unshare, ends on its own.
kill_init() {
  local pid parent
  pid=$(init_pid "$home")
  parent=$(cat "$home/unshare.pid")
  kill -9 "$pid"
  for _ in $(seq 600); do
    runs "$pid" || runs "$parent" || return 0
    sleep 0.05
  done
  fail "process $pid of cluster $cluster does not end; is something of it stuck in the kernel? See: ps -o pid,stat,wchan,args --ppid $pid"
}

# runs PID: not if it only waits for its parent to take notice of its end.
runs() { [ -d "/proc/$1" ] && ! grep -qs '^State:.*Z' "/proc/$1/status"; }
