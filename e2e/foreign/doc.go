// Package foreign runs other WebSocket packages, and proxies, behind ws.Guard over HTTP/2. It has tests only.
package foreign
