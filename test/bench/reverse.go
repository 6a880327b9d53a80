//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

// reverseProxyWord makes the bench the process that reverseProxy is.
const reverseProxyWord = "reverse-proxy"

// reverseProxy is what one gets with httputil.ReverseProxy and little else. It prints the
// addresses that it listens on in a line, in the order of the engines.
func reverseProxy(engines []string) error {
	failed := make(chan error, len(engines))
	var listening []string
	for _, engine := range engines {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listening = append(listening, listener.Addr().String())
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: engine})
		proxy.FlushInterval = -1
		proxy.Transport = &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}
		server := &http.Server{Handler: whole(proxy), ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.Serve(listener) }()
	}
	fmt.Fprintln(os.Stdout, strings.Join(listening, " "))
	return <-failed
}

// whole reads the request before it is passed on: an engine that answers while the body
// is on its way breaks the call off otherwise.
func whole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}
