// Package chat tests examples/chat as its users meet it: real processes, a load balancer, real browsers.
package chat
