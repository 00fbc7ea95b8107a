// Package dns runs CoreDNS with the plugins that a cluster's own DNS needs.
//
// It never answers for names outside the cluster: the configuration that we ship
// has no "forward", because nothing in the cluster can reach the outside.
package dns

import (
	"os"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// Importing the full plugin list would pull in the cloud providers' SDKs.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
)

// Run serves until the process is told to stop; args are CoreDNS's own flags.
func Run(args []string) error {
	// The order is the order in which the plugins see a query.
	dnsserver.Directives = []string{"health", "ready", "prometheus", "errors", "log", "cache", "loadbalance", "kubernetes"}
	os.Args = append([]string{"coredns"}, args...)
	coremain.Run()
	return nil
}
