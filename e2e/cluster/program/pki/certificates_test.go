package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTheCertificatesOfACluster(t *testing.T) {
	dir := t.TempDir()
	err := Run([]string{"-dir", dir, "-cluster", "odd", "-api-ip", "10.99.3.1", "-service-ip", "10.96.48.1", "-nodes", "node0=10.99.3.1,node1=10.99.3.11"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(read(t, filepath.Join(dir, "ca.crt")))

	api := read(t, filepath.Join(dir, "apiserver.crt"))
	for _, name := range []string{"10.99.3.1", "10.96.48.1", "kubernetes.default.svc"} {
		if _, err := api.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("API server as %s: %v", name, err)
		}
	}
	if _, err := read(t, filepath.Join(dir, "etcd-server.crt")).Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("the cluster's authority vouches for etcd: its clients could then read etcd")
	}
	kubelet := read(t, filepath.Join(dir, "kubelet-node1.crt"))
	if kubelet.Subject.CommonName != "system:node:node1" || len(kubelet.Subject.Organization) != 1 || kubelet.Subject.Organization[0] != "system:nodes" {
		t.Errorf("node1's kubelet is %s", kubelet.Subject)
	}
	config, err := os.ReadFile(filepath.Join(dir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"current-context: odd\n", "server: https://10.99.3.1:6443\n"} {
		if !strings.Contains(string(config), want) {
			t.Errorf("admin.kubeconfig lacks %q", want)
		}
	}
}

func TestNodesAreNamedWithTheirAddress(t *testing.T) {
	got, err := parseNodes("a=10.0.0.1,b=10.0.0.2")
	if err != nil || len(got) != 2 || got[1] != (node{"b", netip.MustParseAddr("10.0.0.2")}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "a", "=10.0.0.1", "a=10.0.0.1,"} {
		if got, err := parseNodes(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}
