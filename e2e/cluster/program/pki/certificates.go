// Package pki writes every certificate, key and kubeconfig of a cluster into one
// directory, once, before anything starts. It never renews: a cluster is younger
// than its certificates.
package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// cluster is what the certificates are for.
type cluster struct {
	dir       string
	name      string // becomes the name of the context in the kubeconfigs
	apiIP     netip.Addr
	serviceIP netip.Addr // the API server's address as a service
	nodes     []node
}

type node struct {
	name string
	ip   netip.Addr
}

// Run writes the files.
func Run(args []string) error {
	flags := flag.NewFlagSet("certificates", flag.ContinueOnError)
	dir := flags.String("dir", "", "output directory")
	name := flags.String("cluster", "meridian", "name of the cluster")
	apiIP := flags.String("api-ip", "", "address of the API server")
	serviceIP := flags.String("service-ip", "", "first address of the services' network")
	nodes := flags.String("nodes", "", "NAME=ADDRESS,... of the nodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c := cluster{dir: *dir, name: *name}
	var err error
	if c.apiIP, err = netip.ParseAddr(*apiIP); err != nil {
		return fmt.Errorf("-api-ip: %w", err)
	}
	if c.serviceIP, err = netip.ParseAddr(*serviceIP); err != nil {
		return fmt.Errorf("-service-ip: %w", err)
	}
	if c.nodes, err = parseNodes(*nodes); err != nil {
		return fmt.Errorf("-nodes: %w", err)
	}
	return c.write()
}

func parseNodes(list string) ([]node, error) {
	var out []node
	for _, item := range strings.Split(list, ",") {
		name, address, _ := strings.Cut(item, "=")
		ip, err := netip.ParseAddr(address)
		if err != nil || name == "" {
			return nil, fmt.Errorf("%q is not NAME=ADDRESS", item)
		}
		out = append(out, node{name, ip})
	}
	return out, nil
}

func (c cluster) write() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(c.dir, "ca")
	if err != nil {
		return err
	}
	if err := c.writeServers(ca); err != nil {
		return err
	}
	if err := c.writeUsers(ca); err != nil {
		return err
	}
	return writeServiceAccountKey(c.dir)
}

func (c cluster) writeServers(ca *authority) error {
	etcd, err := newAuthority(c.dir, "etcd-ca")
	if err != nil {
		return err
	}
	front, err := newAuthority(c.dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	apiNames := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"localhost", "127.0.0.1", c.apiIP.String(), c.serviceIP.String(),
	}
	for _, cert := range []struct {
		signer *authority
		file   string
		subject
	}{
		{ca, "apiserver", subject{"kube-apiserver", nil, apiNames}},
		{ca, "apiserver-kubelet-client", subject{"kube-apiserver-kubelet-client", []string{"system:masters"}, nil}},
		{etcd, "etcd-server", subject{"etcd", nil, []string{"localhost", "127.0.0.1"}}},
		{etcd, "etcd-client", subject{"kube-apiserver", nil, nil}},
		{front, "front-proxy-client", subject{"front-proxy-client", nil, nil}},
	} {
		if _, err := cert.signer.issue(cert.file, cert.subject); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		names := []string{n.name, n.ip.String(), "127.0.0.1"}
		if _, err := ca.issue("kubelet-server-"+n.name, subject{n.name, nil, names}); err != nil {
			return err
		}
	}
	return nil
}

// writeUsers writes a kubeconfig for each that talks to the API server.
func (c cluster) writeUsers(ca *authority) error {
	users := map[string]subject{
		"admin":              {"kubernetes-admin", []string{"system:masters"}, nil},
		"controller-manager": {"system:kube-controller-manager", nil, nil},
		"scheduler":          {"system:kube-scheduler", nil, nil},
		"proxy":              {"system:kube-proxy", nil, nil},
		"policy-agent":       {"meridian:policy-agent", nil, nil},
		"volumes":            {"meridian:volumes", nil, nil},
	}
	for _, n := range c.nodes {
		users["kubelet-"+n.name] = subject{"system:node:" + n.name, []string{"system:nodes"}, nil}
	}
	for file, user := range users {
		pair, err := ca.issue(file, user)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.dir, file+".kubeconfig"), c.kubeconfig(ca.pem, pair), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c cluster) kubeconfig(ca []byte, user keyPair) []byte {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
`, c.name, "https://"+netip.AddrPortFrom(c.apiIP, 6443).String(), encode(ca), encode(user.cert), encode(user.key))
}

// writeServiceAccountKey writes an RSA key: every library that checks tokens
// knows RS256.
func writeServiceAccountKey(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "sa.pub"), toPEM("PUBLIC KEY", public), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sa.key"), toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), 0o600)
}
