# shellcheck shell=bash
# What takes several nodes.

check_nodes() {
  claim nodes: pods are spread -- spread
  claim nodes: a pod on one reaches a pod on another -- across
  claim nodes: a drain moves the pods -- drain
}

spread() { [ "$(shop get pods -l app=web -o jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l)" -gt 1 ]; }

across() {
  local ip
  for ip in $(shop get pods -l app=web -o jsonpath='{.items[*].status.podIP}'); do
    answers 200 lab "http://$ip:8080/"
  done
}

drain() {
  k drain node1 --ignore-daemonsets --delete-emptydir-data --force --timeout=60s
  shop rollout status deployment/web --timeout=60s
  [ -z "$(shop get pods -l app=web --field-selector=spec.nodeName=node1 -o name)" ]
  k uncordon node1
  # the clients are bare pods: a drain ends them for good
  k apply -f "$(manifest services)"
  clients_ready
}
