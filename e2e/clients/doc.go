// Package clients lets package ws talk with others' clients and servers, Node's and Python's, and
// through proxies.
package clients
