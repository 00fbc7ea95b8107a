// policy-cni is a chained CNI plugin. It tells the policy agent of its node a new
// pod's name and address, and returns only once the agent has loaded that pod's
// rules, so that no packet of the pod is ever judged without them.
//
// It changes nothing itself. On DEL and CHECK it does nothing: the agent follows
// the pod's object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// agentWait bounds how long a pod's start may wait for its rules. The kubelet
// tries again after a failure.
const agentWait = 10 * time.Second

// request is what the container runtime writes to standard input.
type request struct {
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func main() {
	if err := run(os.Getenv("CNI_COMMAND"), os.Getenv("CNI_ARGS"), os.Stdin, os.Stdout); err != nil {
		// 11 is the specification's "try again later".
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "0.4.0", "code": 11, "msg": err.Error()})
		os.Exit(1)
	}
}

func run(command, cniArgs string, in io.Reader, out io.Writer) error {
	switch command {
	case "VERSION":
		_, err := fmt.Fprintln(out, `{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0"]}`)
		return err
	case "ADD":
	default:
		return nil
	}
	var req request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	query, err := podQuery(cniArgs, req.PrevResult)
	if err != nil {
		return err
	}
	if err := announce(req.Socket, query); err != nil {
		return err
	}
	// A chained plugin hands on the result of the one before it.
	_, err = out.Write(req.PrevResult)
	return err
}

// podQuery names the pod and its IPv4 address in the terms of the agent's /add.
func podQuery(cniArgs string, prevResult json.RawMessage) (url.Values, error) {
	args := map[string]string{}
	for _, pair := range strings.Split(cniArgs, ";") {
		key, value, _ := strings.Cut(pair, "=")
		args[key] = value
	}
	var result struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(prevResult, &result); err != nil {
		return nil, fmt.Errorf("read prevResult: %w", err)
	}
	for _, ip := range result.IPs {
		prefix, err := netip.ParsePrefix(ip.Address)
		if err == nil && prefix.Addr().Is4() {
			return url.Values{
				"namespace": {args["K8S_POD_NAMESPACE"]}, "name": {args["K8S_POD_NAME"]},
				"uid": {args["K8S_POD_UID"]}, "ip": {prefix.Addr().String()},
			}, nil
		}
	}
	return nil, errors.New("prevResult has no IPv4 address: is this plugin chained after one that assigns it?")
}

func announce(socket string, query url.Values) error {
	client := http.Client{Timeout: agentWait, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	response, err := client.Post("http://policy-agent/add?"+query.Encode(), "", nil)
	if err != nil {
		return fmt.Errorf("policy agent on %s: %w", socket, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("policy agent: %s: %s", response.Status, answer)
	}
	return nil
}
