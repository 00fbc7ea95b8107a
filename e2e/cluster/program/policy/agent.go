// Package policy enforces networking.k8s.io/v1 NetworkPolicy on one node.
//
// rules.go turns pods, namespaces and policies into the text of one nftables
// table; that is pure. This file watches the API server, loads the table in one
// atomic transaction whenever its text changes, and answers the CNI plugin
// (cmd/policy-cni), which holds back a new pod until its rules are in place.
//
// IPv4 only, like the cluster. Connections that a change of policy forbids are
// not cut: established ones go on, which the specification leaves open.
package policy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// podSeenWait bounds how long a new pod waits until our watch shows it: the
	// kubelet can be a moment ahead of us.
	podSeenWait = 5 * time.Second
	podSeenPoll = 50 * time.Millisecond
	// burst is how long changes are gathered before the table is rebuilt.
	burst = 50 * time.Millisecond
	// retry is the pause after a failed load.
	retry = time.Second
)

type agent struct {
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   netlisters.NetworkPolicyLister
	nodeCIDR   netip.Prefix

	mu sync.Mutex
	// announced holds the addresses that the CNI plugin told us, by the pod's
	// UID: they are known here before the pod's status has them.
	announced map[types.UID]netip.Addr
	loaded    string
}

// Run enforces the policies until SIGTERM or SIGINT.
func Run(args []string) error {
	flags := flag.NewFlagSet("policy-agent", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the agent")
	socket := flags.String("socket", "", "unix socket on which the CNI plugin announces new pods")
	nodeCIDR := flags.String("node-cidr", "", "pod addresses of this node: traffic of one that belongs to no known pod is dropped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(*nodeCIDR)
	if err != nil {
		return fmt.Errorf("-node-cidr: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	a := &agent{nodeCIDR: prefix, announced: map[types.UID]netip.Addr{}}
	changed, err := a.watch(ctx, client)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- a.serve(*socket) }()
	return a.follow(ctx, changed, served)
}

// watch fills the listers and returns a channel that holds a token whenever
// something changed since the last look.
func (a *agent) watch(ctx context.Context, client kubernetes.Interface) (chan struct{}, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	core, networking := factory.Core().V1(), factory.Networking().V1()
	a.pods, a.namespaces, a.policies = core.Pods().Lister(), core.Namespaces().Lister(), networking.NetworkPolicies().Lister()

	changed := make(chan struct{}, 1)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke(changed) },
		UpdateFunc: func(any, any) { poke(changed) },
		DeleteFunc: func(any) { poke(changed) },
	}
	for _, informer := range []cache.SharedIndexInformer{
		core.Pods().Informer(), core.Namespaces().Informer(), networking.NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return nil, fmt.Errorf("stopped before the %s were read", kind)
		}
	}
	poke(changed)
	return changed, nil
}

// follow loads the table after every burst of changes.
func (a *agent) follow(ctx context.Context, changed chan struct{}, served <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case <-changed:
		}
		if err := a.load(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "policy-agent:", err)
			time.AfterFunc(retry, func() { poke(changed) })
		}
		time.Sleep(burst)
	}
}

func poke(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default: // a token is already waiting
	}
}

// serve answers the CNI plugin.
func (a *agent) serve(socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", a.add)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// add answers once the new pod's rules are loaded.
func (a *agent) add(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	ip, err := netip.ParseAddr(query.Get("ip"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod, err := a.awaitPod(r.Context(), query.Get("namespace"), query.Get("name"), query.Get("uid"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	a.mu.Lock()
	a.announced[pod.UID] = ip
	a.mu.Unlock()
	if err := a.load(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (a *agent) awaitPod(ctx context.Context, namespace, name, uid string) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, podSeenWait)
	defer cancel()
	for {
		pod, err := a.pods.Pods(namespace).Get(name)
		// The kubelet knows a static pod by the hash of its manifest; the API
		// server's mirror of it carries that hash as an annotation.
		if err == nil && (string(pod.UID) == uid || pod.Annotations["kubernetes.io/config.hash"] == uid) {
			return pod, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pod %s/%s (%s) is not known to the API server's watch", namespace, name, uid)
		case <-time.After(podSeenPoll):
		}
	}
}

// load rebuilds the table and hands it to the kernel if its text changed.
func (a *agent) load(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, err := a.world()
	if err != nil {
		return err
	}
	table, err := Table(w)
	if err != nil || table == a.loaded {
		return err
	}
	nft := exec.CommandContext(ctx, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(table)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	a.loaded = table
	return nil
}

func (a *agent) world() (World, error) {
	w := World{NodeCIDR: a.nodeCIDR, Namespaces: map[string]labels.Set{}, Announced: a.announced}
	var err error
	if w.Pods, err = a.pods.List(labels.Everything()); err != nil {
		return w, err
	}
	if w.Policies, err = a.policies.List(labels.Everything()); err != nil {
		return w, err
	}
	namespaces, err := a.namespaces.List(labels.Everything())
	if err != nil {
		return w, err
	}
	for _, n := range namespaces {
		w.Namespaces[n.Name] = n.Labels
	}
	a.forgetGone(w.Pods)
	return w, nil
}

// forgetGone drops the announced addresses of pods that are no more.
func (a *agent) forgetGone(pods []*corev1.Pod) {
	known := make(map[types.UID]bool, len(pods))
	for _, p := range pods {
		known[p.UID] = true
	}
	for uid := range a.announced {
		if !known[uid] {
			delete(a.announced, uid)
		}
	}
}
