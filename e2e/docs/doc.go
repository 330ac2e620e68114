// Package docs checks what the README, the guides and the package comment say: every snippet of Go is compiled, and
// every link leads somewhere.
package docs
