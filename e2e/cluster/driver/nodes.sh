# shellcheck shell=bash
# `cluster stop-node` and `cluster start-node`: a node lost as by a power cut, and a
# machine with an empty disk in its place. node0 carries the control plane and stays.

# a_further_node N: one that may be lost.
a_further_node() {
  need_up
  [[ ${1:-} =~ ^[1-9]$ ]] && [ "$1" -lt "$nodes" ] ||
    fail "name a node from 1 to $((nodes - 1)); start the cluster with more by: up --nodes N"
}

stop_node() {
  a_further_node "$@"
  node_runs "$1" || fail "node$1 is not running"
  # The pid counts in the cluster's pid namespace: never use it on the host.
  inside kill -9 "$(cat "$home/node$1/init.pid")"
  eventually_gone "$1"
  say "node$1 is lost. Kubernetes notices after about 12 seconds and moves its pods 10 seconds later."
}

start_node() {
  a_further_node "$@"
  ! node_runs "$1" || fail "node$1 is running"
  # On its old state the kubelet would find pods that are elsewhere by now.
  remove_cgroup "$cgroup/node$1" || fail "processes of node$1 are left in its cgroup"
  rm -rf --one-file-system "${home:?}/node$1"
  inside "$home/scripts/join.sh" "$home" "$1" < /dev/null > "$home/log/join.log" 2>&1 ||
    { tail_of "$home/log/join.log"; fail "node$1 did not start"; }
  say "node$1 starts; wait for it with: $0 kubectl wait --for=condition=Ready node/node$1"
}

# node_runs N: its first process is joined.sh, which becomes agents.sh.
node_runs() {
  local pid
  pid=$(cat "$home/node$1/init.pid" 2> /dev/null) && [ -n "$pid" ] &&
    inside grep -qszxF -e "$home/scripts/joined.sh" -e "$home/scripts/agents.sh" "/proc/$pid/cmdline"
}

eventually_gone() {
  for _ in $(seq 200); do
    node_runs "$1" || return 0
    sleep 0.05
  done
  fail "node$1 does not end; see $home/log/node$1.log"
}
