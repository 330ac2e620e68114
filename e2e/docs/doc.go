// Package docs checks what the README and the guides say: every snippet of Go is compiled, and
// every link leads somewhere.
package docs
