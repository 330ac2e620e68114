// Package soak runs thousands of connections that open, talk, stall, break and close at random, each
// against a model of what it must see. It has a test only:
//
//	go test ./soak -soak 10m
package soak
