# shellcheck shell=bash
# NetworkPolicy, by real traffic.

check_policy() {
  claim policy: denied from another namespace -- denied
  claim policy: denied from its own namespace -- answers 000 shop http://web.shop/
  claim policy: egress denied to the API server -- answers 000 shop https://kubernetes.default.svc/version
  claim policy: probes pass under deny -- shop wait --for=condition=Ready pod -l app=web --timeout=5s
  claim policy: a selected pod is let in -- let_in
  claim policy: others are still denied -- answers 000 shop http://web.shop/
  claim policy: egress to DNS alone -- egress_to_dns
  claim policy: all else is denied -- answers 000 lab https://kubernetes.default.svc/version
  claim policy: names resolve -- k -n lab exec client -- nslookup web.shop.svc.cluster.local
  claim policy: without policies all is open -- reopened
  claim policy: an address block with a port -- block_opens
  claim policy: a range of ports in a block -- range_opens
  claim policy: the exception of a block -- exception_holds
  claim policy: it holds from the first packet -- first_packet
}

denied() {
  k apply -f "$(manifest policy-deny)"
  eventually 10 answers 000 lab http://web.shop/
}

let_in() {
  k apply -f "$(manifest policy-allow)"
  eventually 10 answers 200 lab http://web.shop/
}

egress_to_dns() {
  k apply -f "$(manifest policy-dns-only)"
  eventually 10 answers 000 lab http://web.shop/
}

reopened() {
  k delete -f "$(manifest policy-dns-only)" -f "$(manifest policy-allow)" -f "$(manifest policy-deny)"
  eventually 10 answers 200 lab http://web.shop/
  answers 200 shop http://web.shop/
}

# The lab may now call the nodes' block on 6443, and pods on 8080 to 8090, except
# the first of the two web pods. By address, because DNS is not let through.
block_opens() {
  local first second
  read -r first second <<< "$(shop get pods -l app=web --field-selector=status.phase=Running -o jsonpath='{.items[*].status.podIP}')"
  echo "$first" > "$scratch/excepted"
  echo "$second" > "$scratch/other"
  sed "s/EXCEPTED/$first/" "$(manifest policy-blocks)" | k apply -f -
  eventually 10 answers 000 lab "http://$first:8080/"
  answers 200 lab "https://$node_net.1:6443/version"
}

range_opens() { answers 200 lab "http://$(cat "$scratch/other"):8080/"; }

exception_holds() {
  answers 000 lab "http://$(cat "$scratch/excepted"):8080/"
  k delete -f "$(manifest policy-blocks)"
  eventually 10 answers 200 lab "http://$(cat "$scratch/excepted"):8080/"
}

first_packet() {
  k apply -f "$(manifest first-packet)"
  k -n sealed wait --for=jsonpath='{.status.phase}'=Succeeded pod/early --timeout=60s
  [ "$(k -n sealed logs early | grep -cx 000)" = 5 ]
}
