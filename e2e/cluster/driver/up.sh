# shellcheck shell=bash
# `cluster up`: from nothing to ready.

up_usage="usage: cluster up [--nodes N] [--control-plane-only]"

# up FLAGS...
up() {
  local tier=full nodes=1
  while [ $# -gt 0 ]; do
    case $1 in
      --nodes) nodes=${2:-} && shift ;;
      --nodes=*) nodes=${1#*=} ;;
      --control-plane-only) tier=control-plane ;;
      *) fail "$1 is not known; $up_usage" ;;
    esac
    shift
  done
  [[ $nodes =~ ^[1-9]$ ]] || fail "--nodes takes 1 to 9; $up_usage"
  [ "$(id -u)" = 0 ] || fail "a cluster needs root: it makes namespaces, a network device and cgroups"
  need_packages "${cluster_packages[@]}"
  mkdir -p "$clusters"
  bring_up "$tier" "$nodes"
}

bring_up() {
  local from state
  from=$(now)
  lock
  state=$(condition)
  case $state in
    up | starting)
      same_shape "$1" "$2"
      if [ "$state" = up ]; then
        open_door
        write_kubeconfig
        say "Cluster $cluster is up ($tier, $nodes node(s)), since $(since)."
        return
      fi
      say "Cluster $cluster is starting; going on with it"
      ;;
    stale | failed)
      say "Cluster $cluster is $state from an earlier run; removing what is left of it"
      tear_down
      launch "$1" "$2"
      ;;
    absent) launch "$1" "$2" ;;
  esac
  follow
  write_kubeconfig
  say "Cluster $cluster is up after $(took "$from"). Use it with: export KUBECONFIG=$kubeconfig"
}

# same_shape TIER NODES: is the cluster that runs the one that was asked for?
same_shape() {
  local tier_wanted=$1 nodes_wanted=$2
  settings "$home"
  [ "$tier" = "$tier_wanted" ] && [ "$nodes" = "$nodes_wanted" ] ||
    fail "cluster $cluster already runs as $tier with $nodes node(s); take it down first: $0 down (or name another with MERIDIAN_CLUSTER)"
}

# launch TIER NODES: starts PID 1 of the cluster; it does the rest on its own.
launch() {
  local program slot tries
  program=$("$here/build")
  say "Starting cluster $cluster: $1, $2 node(s)"
  # Two clusters that start at once must not choose the same slot.
  exec 7> "$clusters/.slots"
  flock 7
  slot=$(free_slot)
  mkdir -p "$home"/{log,volumes,scripts}
  chmod 700 "$home"
  cp "$here"/node/* "$here"/driver/{networks,cgroups}.sh "$home/scripts/"
  printf '%s\n' "home=$home" "cluster=$cluster" "cgroup=$cgroup" "slot=$slot" "tier=$1" "nodes=$2" "program=$program" > "$home/settings"
  echo "$boot" > "$home/boot"
  settings "$home"
  make_cgroup "$cgroup"
  echo "$(now) started" > "$home/progress"
  # 7 and 8 are locks: whoever inherits them holds them.
  setsid unshare --mount --net --pid --uts --ipc --fork --mount-proc --propagation slave \
    bash "$home/scripts/control-plane.sh" "$home" > "$home/log/init.log" 2>&1 < /dev/null 7>&- 8>&- &
  echo $! > "$home/unshare.pid"
  for tries in $(seq 200); do
    tr -d ' ' < "/proc/$!/task/$!/children" > "$home/init.pid" 2> /dev/null || true
    alive "$home" && break
    [ "$tries" -lt 200 ] || gave_up "the namespaces were not made" init
    sleep 0.05
  done
  exec 7>&-
}

# follow: tells the stages as the cluster reaches them, until it is ready.
follow() {
  local seen=0 at words last
  while :; do
    while read -r at words; do
      seen=$((seen + 1))
      case $words in
        network) open_door ;;
        ready) return ;;
        'failed '*) words=${words#failed }; gave_up "${words#* }" "${words%% *}" ;;
        *' '*) say "  ${words#* }: $(took "$last" "$at")" ;;
      esac
      last=$at
    done < <(tail -n "+$((seen + 1))" "$home/progress")
    alive "$home" || gave_up "its first process ended" init
    sleep 0.1
  done
}

# gave_up WHY LOG
gave_up() {
  tail_of "$home/log/$2.log"
  if [ -s "$home/restarts" ]; then tail_of "$home/restarts"; fi
  fail "cluster $cluster did not start: $1. Its logs are in $home/log; remove it with: $0 down"
}

# write_kubeconfig: for the host. Written last: who finds it can use it.
write_kubeconfig() {
  install -m 600 "$home/pki/admin.kubeconfig" "$kubeconfig"
}

since() { date -d "@$(stat -c %Y "$home/boot")" '+%F %T'; }
