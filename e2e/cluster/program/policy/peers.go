package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peers is who a rule lets through: anybody, or address blocks and pods.
type peers struct {
	anybody bool
	blocks  []block
	pods    []endpoint
	// everyone are all endpoints of the cluster, where "anybody" must be spelled
	// out to resolve a named port.
	everyone []endpoint
}

// block is an ipBlock; except holds no prefix that lies within another.
type block struct {
	cidr   netip.Prefix
	except []netip.Prefix
}

// peers resolves a rule's list of peers; namespace is the policy's own. An empty
// list means anybody; a list that matches nobody means nobody.
func (w World) peers(namespace string, list []netv1.NetworkPolicyPeer, endpoints []endpoint) (peers, error) {
	out := peers{anybody: len(list) == 0, everyone: endpoints}
	for _, p := range list {
		if p.IPBlock != nil {
			b, ok, err := newBlock(p.IPBlock)
			if err != nil {
				return out, err
			}
			if ok {
				out.blocks = append(out.blocks, b)
			}
			continue
		}
		selected, err := w.selected(namespace, p, endpoints)
		if err != nil {
			return out, err
		}
		out.pods = append(out.pods, selected...)
	}
	return out, nil
}

// selected are the endpoints that a peer with selectors names.
func (w World) selected(namespace string, p netv1.NetworkPolicyPeer, endpoints []endpoint) ([]endpoint, error) {
	pods, err := selectorOr(p.PodSelector, labels.Everything())
	if err != nil {
		return nil, err
	}
	namespaces, err := selectorOr(p.NamespaceSelector, nil)
	if err != nil {
		return nil, err
	}
	var out []endpoint
	for _, e := range endpoints {
		inside := e.pod.Namespace == namespace
		if namespaces != nil {
			set, known := w.Namespaces[e.pod.Namespace]
			inside = known && namespaces.Matches(set)
		}
		if inside && pods.Matches(labels.Set(e.pod.Labels)) {
			out = append(out, e)
		}
	}
	return out, nil
}

func selectorOr(s *metav1.LabelSelector, absent labels.Selector) (labels.Selector, error) {
	if s == nil {
		return absent, nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// newBlock reads an ipBlock; ok is false for IPv6, which the cluster does not have.
func newBlock(b *netv1.IPBlock) (_ block, ok bool, err error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return block{}, false, fmt.Errorf("ipBlock: %w", err)
	}
	if !cidr.Addr().Is4() {
		return block{}, false, nil
	}
	out := block{cidr: cidr.Masked()}
	for _, e := range b.Except {
		except, err := netip.ParsePrefix(e)
		if err != nil {
			return block{}, false, fmt.Errorf("ipBlock.except: %w", err)
		}
		out.except = append(out.except, except.Masked())
	}
	out.except = outermost(out.except)
	return out, true, nil
}

// outermost drops the prefixes that lie within another: nftables refuses a set
// whose intervals overlap. Two prefixes are either nested or apart.
func outermost(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var out []netip.Prefix
	for _, p := range prefixes {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Contains(p.Addr()) }) {
			out = append(out, p)
		}
	}
	return out
}

// match is the nftables expression for "the packet's side is in this block".
func (b block) match(side string) string {
	out := fmt.Sprintf("ip %s %s", side, b.cidr)
	if b.cidr.Bits() == 0 {
		out = ""
	}
	if len(b.except) > 0 {
		list := make([]string, len(b.except))
		for i, e := range b.except {
			list[i] = e.String()
		}
		out += fmt.Sprintf(" ip %s != { %s }", side, strings.Join(list, ", "))
	}
	return strings.TrimSpace(out)
}

// addresses are the expressions of which one must match; "" matches anybody.
func (p peers) addresses(side string) []string {
	if p.anybody {
		return []string{""}
	}
	var out []string
	for _, b := range p.blocks {
		out = append(out, b.match(side))
	}
	if len(p.pods) > 0 {
		out = append(out, podsMatch(side, p.pods))
	}
	return out
}

func podsMatch(side string, pods []endpoint) string {
	ips := make([]netip.Addr, len(pods))
	for i, e := range pods {
		ips[i] = e.ip
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	var list []string
	for _, ip := range slices.Compact(ips) {
		list = append(list, ip.String())
	}
	return fmt.Sprintf("ip %s { %s }", side, strings.Join(list, ", "))
}

// ingressMatches are the ways in to self; a named port is one of its own.
func ingressMatches(from peers, ports []netv1.NetworkPolicyPort, self endpoint) []string {
	if len(ports) == 0 {
		return from.addresses(ingress.peer)
	}
	var out []string
	for _, port := range ports {
		var dports []string
		if port.Port != nil && port.Port.Type == intstr.String {
			for _, number := range namedPorts(self.pod, port) {
				dports = append(dports, fmt.Sprintf("%s dport %d", protocol(port), number))
			}
		} else {
			dports = []string{portMatch(port)}
		}
		for _, address := range from.addresses(ingress.peer) {
			for _, dport := range dports {
				out = append(out, strings.TrimSpace(address+" "+dport))
			}
		}
	}
	return out
}

// egressMatches are the ways out; a named port is one of the pod that is called,
// so it leads to those of the peers that have it, each at its own number.
func egressMatches(to peers, ports []netv1.NetworkPolicyPort) []string {
	if len(ports) == 0 {
		return to.addresses(egress.peer)
	}
	var out []string
	for _, port := range ports {
		if port.Port != nil && port.Port.Type == intstr.String {
			out = append(out, namedEgress(to, port)...)
			continue
		}
		for _, address := range to.addresses(egress.peer) {
			out = append(out, strings.TrimSpace(address+" "+portMatch(port)))
		}
	}
	return out
}

func namedEgress(to peers, port netv1.NetworkPolicyPort) []string {
	candidates := to.pods
	if to.anybody {
		candidates = to.everyone
	}
	having := map[int32][]endpoint{}
	for _, e := range candidates {
		for _, number := range namedPorts(e.pod, port) {
			having[number] = append(having[number], e)
		}
	}
	var numbers []int32
	for number := range having {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	var out []string
	for _, number := range numbers {
		out = append(out, fmt.Sprintf("%s %s dport %d", podsMatch(egress.peer, having[number]), protocol(port), number))
	}
	return out
}

// portMatch is the expression for a port by number, a range, or a whole protocol.
func portMatch(p netv1.NetworkPolicyPort) string {
	switch {
	case p.Port == nil:
		return "meta l4proto " + protocol(p)
	case p.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", protocol(p), p.Port.IntVal, *p.EndPort)
	default:
		return fmt.Sprintf("%s dport %d", protocol(p), p.Port.IntVal)
	}
}

func protocol(p netv1.NetworkPolicyPort) string {
	if p.Protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*p.Protocol))
}

func namedPorts(pod *corev1.Pod, port netv1.NetworkPolicyPort) []int32 {
	var out []int32
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) { // a sidecar is an init container
		for _, cp := range c.Ports {
			if cp.Name == port.Port.StrVal && strings.EqualFold(string(cp.Protocol), protocol(port)) {
				out = append(out, cp.ContainerPort)
			}
		}
	}
	return out
}
