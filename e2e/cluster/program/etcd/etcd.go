// Package etcd runs a single-member etcd inside this binary.
//
// It is for clusters that live as long as the machine: with -unsafe-no-fsync it
// never waits for the disk, so a power cut may lose or corrupt the data. The
// driver starts from an empty directory after a reboot.
package etcd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Run serves until SIGTERM or SIGINT.
func Run(args []string) error {
	config, err := configure(args)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start on %s: %w", config.Dir, err)
	}
	defer server.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	select {
	case <-server.Server.ReadyNotify():
		fmt.Fprintln(os.Stderr, "etcd serves", config.ListenClientUrls[0].String())
	case <-ctx.Done():
		return errors.New("stopped before it was ready")
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return err
	}
}

func configure(args []string) (*embed.Config, error) {
	c := embed.NewConfig()
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	client := flags.String("client-url", "https://127.0.0.1:2379", "URL that clients reach it at")
	peer := flags.String("peer-url", "http://127.0.0.1:2380", "URL for peers; a single member has none, but etcd wants one")
	flags.StringVar(&c.Dir, "data-dir", "", "data directory")
	flags.StringVar(&c.ClientTLSInfo.CertFile, "cert-file", "", "server certificate")
	flags.StringVar(&c.ClientTLSInfo.KeyFile, "key-file", "", "server key")
	flags.StringVar(&c.ClientTLSInfo.TrustedCAFile, "trusted-ca-file", "", "authority of the clients' certificates")
	flags.BoolVar(&c.UnsafeNoFsync, "unsafe-no-fsync", false, "do not wait for the disk")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	clientURL, err := url.Parse(*client)
	if err != nil {
		return nil, fmt.Errorf("-client-url: %w", err)
	}
	peerURL, err := url.Parse(*peer)
	if err != nil {
		return nil, fmt.Errorf("-peer-url: %w", err)
	}
	c.Name = "meridian"
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ClientTLSInfo.ClientCertAuth = true
	c.LogLevel, c.LogOutputs = "warn", []string{"stderr"}
	// On a busy machine every request would be reported as slow.
	c.WarningUnaryRequestDuration = time.Second
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "5m"
	return c, nil
}
