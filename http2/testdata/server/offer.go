//go:build offer

package main

import _ "github.com/seed412db446/ws/http2"
