// meridian-cluster is one static binary that carries a whole Kubernetes: control
// plane, node agents, kubectl, cluster DNS, and the four small parts that a
// cluster on one machine needs besides (certificates, images, network policy,
// volumes).
//
// The first argument, or the name that the binary is called by, picks the part;
// what follows are that part's own flags. The upstream components run unchanged:
// nothing here alters their behaviour. Starting, wiring and stopping the parts is
// the work of the shell in ../driver and ../node.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"meridian-cluster/dns"
	"meridian-cluster/etcd"
	"meridian-cluster/image"
	"meridian-cluster/pki"
	"meridian-cluster/policy"
	"meridian-cluster/volumes"
)

// upstream are the components of Kubernetes, by the names of their own binaries.
var upstream = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kube-proxy":              proxy.NewProxyCommand,
}

// parts are what we add; each takes its arguments and returns when it is done.
var parts = map[string]func(args []string) error{
	"etcd":         etcd.Run,
	"coredns":      dns.Run,
	"certificates": pki.Run,
	"image":        image.Run,
	"policy-agent": policy.Run,
	"volumes":      volumes.Run,
}

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if !known(name) {
		if len(args) == 0 || !known(args[0]) {
			usage()
		}
		// The components read os.Args themselves, so they must find it as if
		// they had been called by their own name.
		name, args = args[0], args[1:]
		os.Args = append([]string{name}, args...)
	}
	switch {
	case name == "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	case upstream[name] != nil:
		os.Exit(cli.Run(upstream[name]()))
	default:
		if err := parts[name](args); err != nil {
			fmt.Fprintf(os.Stderr, "meridian-cluster %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func known(name string) bool {
	return name == "kubectl" || upstream[name] != nil || parts[name] != nil
}

func usage() {
	names := []string{"kubectl"}
	for name := range upstream {
		names = append(names, name)
	}
	for name := range parts {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: meridian-cluster PART [flags]\nparts: %s\n", strings.Join(names, ", "))
	os.Exit(2)
}
