package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// World is all that the rules follow from.
type World struct {
	Pods       []*corev1.Pod
	Namespaces map[string]labels.Set
	Policies   []*netv1.NetworkPolicy
	// Announced holds addresses that the CNI plugin told ahead of the pods' status.
	Announced map[types.UID]netip.Addr
	// NodeCIDR are the pod addresses of this node.
	NodeCIDR netip.Prefix
}

// endpoint is a running pod at its address in the cluster's network.
type endpoint struct {
	pod *corev1.Pod
	ip  netip.Addr
}

// direction holds what differs between the two halves of a policy.
type direction struct {
	kind netv1.PolicyType
	// chain is the prefix of the chains of isolated pods, one chain a pod.
	chain string
	// peer and self name the address in a packet that belongs to the other side
	// and to the pod itself.
	peer, self string
}

var (
	ingress = direction{netv1.PolicyTypeIngress, "to", "saddr", "daddr"}
	egress  = direction{netv1.PolicyTypeEgress, "from", "daddr", "saddr"}
)

// chains holds the rules of each isolated pod; a pod that no policy selects is
// not isolated and has no entry.
type chains map[netip.Addr][]string

// Table returns the nftables table that enforces the world's policies, as one
// transaction that replaces the table before it. Equal worlds give equal text.
//
// Every isolated pod has a chain per direction: one rule "MATCH return" for each
// way in, and a final "drop". Returning hands the packet to the next direction,
// so a packet between two isolated pods needs both their consents.
func Table(w World) (string, error) {
	endpoints := w.endpoints()
	from, err := w.chains(egress, endpoints)
	if err != nil {
		return "", err
	}
	to, err := w.chains(ingress, endpoints)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("table ip meridian-policy {}\ndelete table ip meridian-policy\ntable ip meridian-policy {\n")
	writeChains(&b, egress, from)
	writeChains(&b, ingress, to)
	senders := w.unknownDrop(egress, endpoints) + dispatch(egress, from)
	receivers := w.unknownDrop(ingress, endpoints) + dispatch(ingress, to)
	writeHook(&b, "forward", senders+receivers)
	// What a pod sends to its node (the API server, host-network pods) is not
	// forwarded. What the node sends to its pods is left alone: probes.
	writeHook(&b, "input", senders)
	b.WriteString("}\n")
	return b.String(), nil
}

// endpoints are the running pods with an address of their own, by address.
func (w World) endpoints() []endpoint {
	var out []endpoint
	for _, p := range w.Pods {
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if ip, ok := w.address(p); ok {
			out = append(out, endpoint{p, ip})
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		return cmp.Or(a.ip.Compare(b.ip), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	return out
}

// address prefers what the CNI plugin said: when a sandbox is made anew, the
// status shows the old address for a while.
func (w World) address(p *corev1.Pod) (netip.Addr, bool) {
	if ip, ok := w.Announced[p.UID]; ok {
		return ip, true
	}
	for _, ip := range p.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// chains collects, for every pod that a policy isolates in this direction, the
// matches under which its packets pass.
func (w World) chains(d direction, endpoints []endpoint) (chains, error) {
	policies := slices.Clone(w.Policies)
	slices.SortFunc(policies, func(a, b *netv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out := chains{}
	for _, p := range policies {
		if !slices.Contains(p.Spec.PolicyTypes, d.kind) { // the API server always fills this in
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			return nil, fmt.Errorf("policy %s/%s: %w", p.Namespace, p.Name, err)
		}
		for _, e := range endpoints {
			if e.pod.Namespace != p.Namespace || !selector.Matches(labels.Set(e.pod.Labels)) {
				continue
			}
			matches, err := w.matches(d, p, e, endpoints)
			if err != nil {
				return nil, fmt.Errorf("policy %s/%s: %w", p.Namespace, p.Name, err)
			}
			out[e.ip] = append(out[e.ip], matches...)
		}
	}
	return out, nil
}

// matches are the ways through one policy for one pod that it selects.
func (w World) matches(d direction, p *netv1.NetworkPolicy, self endpoint, endpoints []endpoint) ([]string, error) {
	var out []string
	if d.kind == netv1.PolicyTypeIngress {
		for _, rule := range p.Spec.Ingress {
			peers, err := w.peers(p.Namespace, rule.From, endpoints)
			if err != nil {
				return nil, err
			}
			out = append(out, ingressMatches(peers, rule.Ports, self)...)
		}
		return out, nil
	}
	for _, rule := range p.Spec.Egress {
		peers, err := w.peers(p.Namespace, rule.To, endpoints)
		if err != nil {
			return nil, err
		}
		out = append(out, egressMatches(peers, rule.Ports)...)
	}
	return out, nil
}

func writeChains(b *strings.Builder, d direction, cs chains) {
	for _, ip := range cs.sorted() {
		fmt.Fprintf(b, " chain %s {\n", chainName(d, ip))
		// No policy keeps a pod from itself, by way of its own service.
		fmt.Fprintf(b, "  ip %s %s return\n", d.peer, ip)
		seen := map[string]bool{}
		for _, match := range cs[ip] {
			if !seen[match] {
				seen[match] = true
				fmt.Fprintf(b, "  %s\n", strings.TrimSpace(match+" return"))
			}
		}
		b.WriteString("  drop\n }\n")
	}
}

// dispatch sends each isolated pod's packets through its chain.
func dispatch(d direction, cs chains) string {
	if len(cs) == 0 {
		return ""
	}
	var jumps []string
	for _, ip := range cs.sorted() {
		jumps = append(jumps, fmt.Sprintf("%s : jump %s", ip, chainName(d, ip)))
	}
	return fmt.Sprintf("  ip %s vmap { %s }\n", d.self, strings.Join(jumps, ", "))
}

// unknownDrop closes the gap between a pod's first packet and our knowing of it.
func (w World) unknownDrop(d direction, endpoints []endpoint) string {
	var known []string
	for _, e := range endpoints {
		if w.NodeCIDR.Contains(e.ip) {
			known = append(known, e.ip.String())
		}
	}
	except := ""
	if len(known) > 0 {
		except = fmt.Sprintf(" ip %s != { %s }", d.self, strings.Join(slices.Compact(known), ", "))
	}
	return fmt.Sprintf("  ip %s %s%s drop\n", d.self, w.NodeCIDR, except)
}

func writeHook(b *strings.Builder, name, rules string) {
	fmt.Fprintf(b, " chain %s {\n  type filter hook %s priority filter - 5; policy accept;\n"+
		"  ct state established,related accept\n%s }\n", name, name, rules)
}

func chainName(d direction, ip netip.Addr) string {
	return d.chain + "-" + strings.ReplaceAll(ip.String(), ".", "-")
}

func (cs chains) sorted() []netip.Addr {
	ips := make([]netip.Addr, 0, len(cs))
	for ip := range cs {
		ips = append(ips, ip)
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return ips
}
