// Package examples starts the examples' servers and ends them, as a shell does.
package examples
