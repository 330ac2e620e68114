// Package clients tests package ws with the clients and servers of Node and Python, and
// through proxies.
package clients
