package main

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

const added = `{"socket": %q, "prevResult": {"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.244.3.7/24"}]}}`

// agent answers on a socket as the policy agent does, and tells what it was asked.
func agent(t *testing.T, status int) (socket string, asked *string) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "agent.sock"), new(string)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Query().Encode()
		w.WriteHeader(status)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket, asked
}

func add(t *testing.T, socket string) (string, error) {
	t.Helper()
	quoted, err := json.Marshal(socket)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	in := strings.Replace(added, "%q", string(quoted), 1)
	err = run("ADD", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till-0;K8S_POD_UID=u1", strings.NewReader(in), &out)
	return out.String(), err
}

func TestAddAnnouncesThePodAndHandsOnTheResult(t *testing.T) {
	socket, asked := agent(t, http.StatusOK)
	out, err := add(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	if want := "ip=10.244.3.7&name=till-0&namespace=shop&uid=u1"; *asked != want {
		t.Errorf("asked %q, want %q", *asked, want)
	}
	if want := `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.244.3.7/24"}]}`; out != want {
		t.Errorf("result %q, want %q", out, want)
	}
}

func TestAddFailsWhenTheAgentRefuses(t *testing.T) {
	socket, _ := agent(t, http.StatusServiceUnavailable)
	if out, err := add(t, socket); err == nil || out != "" {
		t.Errorf("got result %q and error %v, want an error and no result", out, err)
	}
}

func TestAddFailsWithoutAnAgent(t *testing.T) {
	if _, err := add(t, filepath.Join(t.TempDir(), "nobody.sock")); err == nil {
		t.Error("want an error: a pod must not start unguarded")
	}
}
