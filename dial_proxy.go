//go:build !js

package ws

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// throughProxy returns t for r; or, where its Proxy names an HTTP proxy, one whose
// connections are tunnels through it, made by CONNECT (RFC 9110, section 9.3.6). t itself makes
// them for https alone: other requests it hands to the proxy, and most let no upgrade pass.
func throughProxy(t http.RoundTripper, r *http.Request) (http.RoundTripper, error) {
	direct, ok := t.(*http.Transport)
	if !ok || direct.Proxy == nil {
		return t, nil
	}
	proxy, err := direct.Proxy(r)
	if err != nil || proxy == nil || proxy.Scheme != "http" && proxy.Scheme != "https" {
		return t, err
	}
	tunnels := direct.Clone()
	tunnels.Proxy, tunnels.DialTLSContext, tunnels.DialTLS = nil, nil, nil
	tunnels.DisableKeepAlives = true // it is for r alone
	tunnels.DialContext = func(_ context.Context, _, target string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Minute) // net/http's own does not end with r's
		defer cancel()
		conn, err := dialProxy(ctx, direct, proxy)
		if err != nil {
			return nil, fmt.Errorf("the proxy %s://%s can't be reached: %w", proxy.Scheme, proxy.Host, err)
		}
		if err := makeTunnel(ctx, conn, direct, proxy, target); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	return tunnels, nil
}

// dialProxy connects to proxy as t does.
func dialProxy(ctx context.Context, t *http.Transport, proxy *url.URL) (net.Conn, error) {
	host, port, secure := proxy.Hostname(), proxy.Port(), proxy.Scheme == "https"
	switch {
	case port != "":
	case secure:
		port = "443"
	default:
		port = "80"
	}
	dial := new(net.Dialer).DialContext
	switch {
	case secure && t.DialTLSContext != nil:
		dial, secure = t.DialTLSContext, false
	case t.DialContext != nil:
		dial = t.DialContext
	case t.Dial != nil:
		dial = func(_ context.Context, network, addr string) (net.Conn, error) { return t.Dial(network, addr) }
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil || !secure {
		return conn, err
	}
	config := &tls.Config{}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = nil // HTTP/1.1
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tlsConn, nil
}

// makeTunnel makes conn, which leads to proxy, lead to target.
func makeTunnel(ctx context.Context, conn net.Conn, t *http.Transport, proxy *url.URL, target string) (err error) {
	header := t.ProxyConnectHeader
	if t.GetProxyConnectHeader != nil {
		if header, err = t.GetProxyConnectHeader(ctx, proxy, target); err != nil {
			return err
		}
	}
	if header = header.Clone(); header == nil {
		header = make(http.Header)
	}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: header}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var resp *http.Response
	if err = req.Write(conn); err == nil {
		head := io.LimitReader(conn, 256<<10) // which nothing follows: the target speaks second
		resp, err = http.ReadResponse(bufio.NewReader(head), req)
	}
	if !stop() {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("the proxy %s://%s did not answer: %w", proxy.Scheme, proxy.Host, err)
	}
	if t.OnProxyConnectResponse != nil {
		if err := t.OnProxyConnectResponse(ctx, proxy, req, resp); err != nil {
			return err
		}
	}
	if resp.StatusCode/100 != 2 {
		return &HandshakeError{Status: resp.StatusCode, Header: resp.Header,
			Err: fmt.Errorf("the proxy %s://%s does not connect to %s (%s)", proxy.Scheme, proxy.Host, target, http.StatusText(resp.StatusCode))}
	}
	return nil
}
