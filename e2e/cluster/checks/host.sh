# shellcheck shell=bash
# The host's side: the door, the commands, neighbours, and that nothing is left.

check_host() {
  claim host: a service answers at its address -- service_from_host
  claim host: a pod answers at its address -- pod_from_host
  claim host: a node port answers -- curl -sf -m 5 "http://$node_net.1:30080/"
  claim host: port-forward -- port_forward
  claim host: exec -- exec_from_host
  claim host: the kubeconfig\'s context is named after the cluster -- context_named
  claim enter: a service answers on the node -- enter_node
  claim load: an image is imported once -- load_once
  claim up: a second time says that it is up -- up_again
  claim up: another shape is refused -- up_other_shape
  claim host: the kubelet changed no setting of the host -- same_settings
  [ -n "$quick" ] || check_neighbour
}

service_ip() { shop get service web -o jsonpath='{.spec.clusterIP}'; }
service_from_host() { curl -sf -m 5 "http://$(service_ip)/"; }
pod_from_host() { curl -sf -m 5 "http://$(shop get pod -l app=web -o jsonpath='{.items[0].status.podIP}'):8080/"; }
exec_from_host() { shop exec deployment/web -- id -u | grep -x 0; }
context_named() { k config current-context | grep -x "$cluster"; }
enter_node() { "$here/cluster" enter curl -sf -m 5 "http://$(service_ip)/"; }

port_forward() {
  local pid port
  k -n shop port-forward service/web :80 > "$scratch/forward" 2>&1 &
  pid=$!
  eventually 20 grep -q Forwarding "$scratch/forward"
  port=$(sed -nE 's/.*127.0.0.1:([0-9]+) .*/\1/p' "$scratch/forward" | head -n 1)
  curl -sf -m 5 "http://127.0.0.1:$port/"
  kill "$pid"
}

load_once() {
  echo "content of $RANDOM$RANDOM" > "$scratch/file"
  "$program/meridian-cluster" image write --tag meridian.local/loaded:1 --out "$scratch/loaded.tar" "$scratch/file:/file"
  "$here/cluster" load "$scratch/loaded.tar" 2>&1 | grep 'node0 imported meridian.local/loaded:1'
  "$here/cluster" load "$scratch/loaded.tar" 2>&1 | grep 'node0 has meridian.local/loaded:1'
}

up_again() { "$here/cluster" up --nodes "$count" 2>&1 | grep "Cluster $cluster is up (full, $count node"; }

up_other_shape() { refuted "$here/cluster" up --control-plane-only 2>&1 | grep 'take it down first'; }

same_settings() { diff <(grep -E '^(vm|kernel)\.' "$scratch/before") <(host_traces | grep -E '^(vm|kernel)\.'); }

# A second cluster of the small kind stands beside the first, and falls alone.
check_neighbour() {
  claim neighbour: a control plane alone is usable at once -- neighbour_up
  claim neighbour: it has objects of its own -- neighbour_objects
  claim neighbour: what is left of one that died is noticed -- neighbour_dies
  claim neighbour: it starts again from there -- neighbour_up
  claim neighbour: it goes and leaves the first -- neighbour_down
}

neighbour() { MERIDIAN_CLUSTER=$cluster-2 "$here/cluster" "$@"; }

neighbour_up() {
  neighbour up --control-plane-only
  neighbour kubectl get --raw /readyz
}

neighbour_objects() {
  neighbour kubectl create namespace next-door
  refuted k get namespace next-door
}

neighbour_dies() {
  kill -9 "$(init_pid "$clusters/$cluster-2")"
  refuted neighbour status 2>&1 | grep "Cluster $cluster-2 is stale"
}

neighbour_down() {
  neighbour down
  [ ! -e "$clusters/$cluster-2" ]
  answers 200 lab http://web.shop/
}

# The end: everything that there was on the host before, and nothing else.
check_down() {
  local namespace
  namespace=$(readlink "/proc/$(init_pid "$home")/ns/net" || echo none)
  claim down: it ends -- "$here/cluster" down
  claim down: no process is left -- no_process "$namespace"
  claim down: no file is left -- test ! -e "$home"
  claim down: no cgroup is left -- no_cgroup
  claim down: no device, route, rule, mount or setting is left -- same_traces
  claim down: a second time says that it is not there -- down_again
}

no_process() {
  local proc
  for proc in /proc/[0-9]*; do
    if [ "$(readlink "$proc/ns/net")" = "$1" ] || grep -qsaF "$home/" "$proc/cmdline"; then
      tr '\0' ' ' < "$proc/cmdline"
      return 1
    fi
  done
}

no_cgroup() { [ -z "$(find /sys/fs/cgroup -maxdepth 2 -name "$cgroup" -print)" ]; }

same_traces() { eventually 10 same_traces_now; }
same_traces_now() { diff "$scratch/before" <(host_traces); }

down_again() { "$here/cluster" down 2>&1 | grep 'is not there'; }

# host_traces: what a cluster could leave on the host, as lines. Other clusters and
# builds of images may come and go meanwhile: their doors and mounts are left out.
host_traces() {
  {
    ip -o link | cut -d ' ' -f 2
    ip -4 route show table all
    ip rule
    nft list ruleset
    cut -d ' ' -f 5- /proc/self/mountinfo | awk -v cache="$cache/" -v home="$home" '!index($0, cache) || index($0, home)'
    ls -d /var/lib/kubelet /var/lib/cni /var/lib/containerd /var/log/pods /var/log/containers 2> /dev/null || true
    sysctl vm kernel net.ipv4.ip_forward net.ipv4.conf.all net.bridge net.netfilter 2> /dev/null |
      grep -vE '^(kernel\.(random\.|ns_last_pid|pty\.nr|perf_event_max_sample_rate)|net\.netfilter\.nf_conntrack_count|vm\.(stat|drop_caches))' || true
  } | grep -vE "(^|[ @])mdoor($(others))\b" | sort
}

# others: the slots of the other clusters, as alternatives of a pattern.
others() {
  local other mine=none
  [ ! -e "$scratch/slot" ] || mine=$(cat "$scratch/slot")
  for other in $(seq 0 $((slots - 1))); do
    [ "$other" = "$mine" ] || echo "$other"
  done | paste -s -d '|'
}
