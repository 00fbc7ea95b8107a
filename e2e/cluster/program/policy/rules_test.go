package policy

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// The world of these tests: a shop with a till and a ledger, a lab, and DNS.
func world(t *testing.T, policies ...string) World {
	t.Helper()
	w := World{
		NodeCIDR: netip.MustParsePrefix("10.244.0.0/24"),
		Namespaces: map[string]labels.Set{
			"shop": {"team": "sales"}, "lab": {"team": "science"}, "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
		},
		Pods: []*corev1.Pod{
			pod("shop", "till", "10.244.0.7", "http", 8080),
			pod("shop", "ledger", "10.244.1.9", "http", 8123),
			pod("lab", "till", "10.244.0.3", "admin", 9090),
			pod("kube-system", "dns", "10.244.0.2", "dns", 53),
		},
	}
	for _, text := range policies {
		policy := &netv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(text), policy); err != nil {
			t.Fatal(err)
		}
		w.Policies = append(w.Policies, policy)
	}
	return w
}

func pod(namespace, app, ip, port string, number int32) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = namespace, app, types.UID(namespace+"/"+app)
	p.Labels = map[string]string{"app": app}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: port, ContainerPort: number, Protocol: corev1.ProtocolTCP}}}}
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	return p
}

// chain returns the rules of a chain in the world's table, without their indent.
func chain(t *testing.T, w World, name string) string {
	t.Helper()
	table, err := Table(w)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(table, " chain "+name+" {\n")
	if !found {
		return "(no such chain)"
	}
	body, _, _ := strings.Cut(rest, "\n }")
	return strings.ReplaceAll(strings.TrimSpace(body), "\n  ", "\n")
}

func check(t *testing.T, w World, name, want string) {
	t.Helper()
	if got := chain(t, w, name); got != want {
		t.Errorf("chain %s\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}

const till = `
metadata: {name: till, namespace: shop}
spec:
  podSelector: {matchLabels: {app: till}}
`

func TestAPodThatNoPolicySelectsHasNoChain(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]")
	check(t, w, "to-10-244-1-9", "(no such chain)")
	check(t, w, "from-10-244-0-7", "(no such chain)")
}

func TestDefaultDenyLetsAPodReachOnlyItself(t *testing.T) {
	w := world(t, `{metadata: {name: deny, namespace: shop}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}`)
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\ndrop")
	check(t, w, "from-10-244-0-7", "ip daddr 10.244.0.7 return\ndrop")
	check(t, w, "to-10-244-1-9", "ip saddr 10.244.1.9 return\ndrop")
	check(t, w, "to-10-244-0-3", "(no such chain)")
}

func TestAnEmptyRuleLetsAnybodyIn(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]\n  ingress: [{}]")
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\nreturn\ndrop")
}

func TestAPodSelectorAloneMeansThePolicysOwnNamespace(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]\n  ingress: [{from: [{podSelector: {}}]}]")
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\nip saddr { 10.244.0.7, 10.244.1.9 } return\ndrop")
}

func TestBothSelectorsOfAPeerMustMatch(t *testing.T) {
	w := world(t, till+`  policyTypes: [Ingress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: science}}, podSelector: {matchLabels: {app: till}}}]}]`)
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\nip saddr { 10.244.0.3 } return\ndrop")
}

func TestAPeerThatMatchesNobodyOpensNothing(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]\n  ingress: [{from: [{podSelector: {matchLabels: {app: ghost}}}]}]")
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\ndrop")
}

func TestEgressToDNSOnly(t *testing.T) {
	w := world(t, till+`  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {app: dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]`)
	check(t, w, "from-10-244-0-7", "ip daddr 10.244.0.7 return\n"+
		"ip daddr { 10.244.0.2 } udp dport 53 return\nip daddr { 10.244.0.2 } tcp dport 53 return\ndrop")
}

func TestANamedPortIsTheReceiversOwn(t *testing.T) {
	in := world(t, `{metadata: {name: p, namespace: shop}, spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: http}]}]}}`)
	check(t, in, "to-10-244-0-7", "ip saddr 10.244.0.7 return\ntcp dport 8080 return\ndrop")
	check(t, in, "to-10-244-1-9", "ip saddr 10.244.1.9 return\ntcp dport 8123 return\ndrop")

	out := world(t, till+"  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]")
	check(t, out, "from-10-244-0-7", "ip daddr 10.244.0.7 return\n"+
		"ip daddr { 10.244.0.7 } tcp dport 8080 return\nip daddr { 10.244.1.9 } tcp dport 8123 return\ndrop")
}

func TestPortRangesAndWholeProtocols(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]\n  ingress: [{ports: [{port: 9000, endPort: 9010}, {protocol: UDP}]}]")
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\ntcp dport 9000-9010 return\nmeta l4proto udp return\ndrop")
}

func TestIPBlocksWithExceptions(t *testing.T) {
	w := world(t, till+`  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 203.0.113.77/24, except: [203.0.113.64/26, 203.0.113.80/28, 203.0.113.1/32]}}]
    ports: [{port: 5432}]
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
  - to: [{ipBlock: {cidr: "2001:db8::/32"}}]`)
	check(t, w, "from-10-244-0-7", "ip daddr 10.244.0.7 return\n"+
		"ip daddr 203.0.113.0/24 ip daddr != { 203.0.113.64/26, 203.0.113.1/32 } tcp dport 5432 return\n"+
		"ip daddr != { 10.0.0.0/8 } return\ndrop")
}

func TestPoliciesAddUp(t *testing.T) {
	w := world(t,
		till+"  policyTypes: [Ingress]\n  ingress: [{ports: [{port: 1}]}]",
		`{metadata: {name: also, namespace: shop}, spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 2}]}]}}`)
	check(t, w, "to-10-244-0-7", "ip saddr 10.244.0.7 return\ntcp dport 2 return\ntcp dport 1 return\ndrop")
}

func TestAnAnnouncedAddressComesBeforeTheStatus(t *testing.T) {
	w := world(t, till+"  policyTypes: [Ingress]")
	w.Announced = map[types.UID]netip.Addr{"shop/till": netip.MustParseAddr("10.244.0.44")}
	check(t, w, "to-10-244-0-7", "(no such chain)")
	check(t, w, "to-10-244-0-44", "ip saddr 10.244.0.44 return\ndrop")
}

func TestAnAddressOfTheNodeThatBelongsToNoRunningPodIsDropped(t *testing.T) {
	w := world(t)
	w.Pods[0].Status.Phase = corev1.PodSucceeded
	w.Pods[2].Spec.HostNetwork = true
	check(t, w, "forward", "type filter hook forward priority filter - 5; policy accept;\n"+
		"ct state established,related accept\n"+
		"ip saddr 10.244.0.0/24 ip saddr != { 10.244.0.2 } drop\n"+
		"ip daddr 10.244.0.0/24 ip daddr != { 10.244.0.2 } drop")
}

func TestAPacketNeedsTheConsentOfBothItsEnds(t *testing.T) {
	w := world(t, `{metadata: {name: deny, namespace: shop}, spec: {podSelector: {matchLabels: {app: till}}, policyTypes: [Ingress, Egress]}}`)
	w.NodeCIDR = netip.MustParsePrefix("10.244.9.0/24")
	check(t, w, "forward", "type filter hook forward priority filter - 5; policy accept;\n"+
		"ct state established,related accept\n"+
		"ip saddr 10.244.9.0/24 drop\n"+
		"ip saddr vmap { 10.244.0.7 : jump from-10-244-0-7 }\n"+
		"ip daddr 10.244.9.0/24 drop\n"+
		"ip daddr vmap { 10.244.0.7 : jump to-10-244-0-7 }")
	check(t, w, "input", "type filter hook input priority filter - 5; policy accept;\n"+
		"ct state established,related accept\n"+
		"ip saddr 10.244.9.0/24 drop\n"+
		"ip saddr vmap { 10.244.0.7 : jump from-10-244-0-7 }")
}

// The kernel's own parser has the last word; a dry run changes nothing.
func TestNftablesTakesTheTable(t *testing.T) {
	w := world(t, till+`  policyTypes: [Ingress, Egress]
  ingress: [{}, {from: [{podSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}, {port: 9000, endPort: 9010}, {protocol: UDP}, {port: 7, protocol: SCTP}]}]
  egress:
  - to: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.64/26, 203.0.113.80/28]}}, {ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}]
    ports: [{port: 5432}, {port: http}]`)
	table, err := Table(w)
	if err != nil {
		t.Fatal(err)
	}
	// In a network namespace of its own, so that no rule of this machine is read.
	nft := exec.Command("unshare", "--net", "nft", "--check", "-f", "-")
	nft.Stdin = strings.NewReader(table)
	if _, err := exec.LookPath("nft"); err != nil || exec.Command("unshare", "--net", "true").Run() != nil {
		t.Skip("needs nft and the right to make a network namespace")
	}
	if out, err := nft.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, table)
	}
}
