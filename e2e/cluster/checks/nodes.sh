# shellcheck shell=bash
# What takes several nodes.

check_nodes() {
  claim nodes: pods are spread -- spread
  claim nodes: a pod on one reaches a pod on another -- across
  claim nodes: a drain moves the pods -- drain
  [ -n "$quick" ] || check_lost_node
}

check_lost_node() {
  claim nodes: the pods of a lost node start elsewhere -- lost
  claim nodes: an empty machine takes its place -- replaced
}

spread() { [ "$(shop get pods -l app=web -o jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l)" -gt 1 ]; }

across() {
  local ip
  for ip in $(shop get pods -l app=web -o jsonpath='{.items[*].status.podIP}'); do
    answers 200 lab "http://$ip:8080/"
  done
}

lost() {
  # after the drain both pods are on node0
  shop scale deployment/web --replicas=0
  eventually 30 no_web_pods
  shop scale deployment/web --replicas=2
  shop rollout status deployment/web --timeout=60s
  spread
  "$here/cluster" stop-node 1
  k wait --for=condition=Ready=Unknown node/node1 --timeout=60s
  # A pod of the lost node stays listed, as terminating; the new one is what counts.
  eventually 60 served_from_node0
}

no_web_pods() { [ -z "$(shop get pods -l app=web -o name)" ]; }

served_from_node0() {
  [ "$(shop get endpointslices -l kubernetes.io/service-name=web \
    -o jsonpath='{.items[*].endpoints[?(@.conditions.ready==true)].nodeName}')" = "node0 node0" ]
}

replaced() {
  "$here/cluster" start-node 1
  k wait --for=condition=Ready node/node1 --timeout=60s
  eventually 60 no_taints
  k -n lab run visitor --image=meridian.local/tools:1 --overrides='{"spec":{"nodeName":"node1"}}' --command -- sleep infinity
  k -n lab wait --for=condition=Ready pod/visitor --timeout=60s
  k -n lab exec visitor -- curl -sf -m 5 http://web.shop/
  # the clients are bare pods: those of the lost node are gone for good
  eventually 60 clients_again
}

clients_again() {
  k apply -f "$(manifest services)"
  k -n lab wait --for=condition=Ready pod/client --timeout=5s && shop wait --for=condition=Ready pod/client --timeout=5s
}

no_taints() { [ -z "$(k get node node1 -o jsonpath='{.spec.taints}')" ]; }

drain() {
  k drain node1 --ignore-daemonsets --delete-emptydir-data --force --timeout=60s
  shop rollout status deployment/web --timeout=60s
  [ -z "$(shop get pods -l app=web --field-selector=spec.nodeName=node1 -o name)" ]
  k uncordon node1
  eventually 60 clients_again
}
