// Package examples starts the examples' servers as a shell does, and ends them.
package examples
