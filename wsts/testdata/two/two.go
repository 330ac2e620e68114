// Package two shares the types of another package that has routes, too.
package two

import (
	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/wsts/testdata/chat"
)

// Post is another one.
type Post struct{ Note chat.Note }

// Chat is another one.
var Chat = ws.Route[chat.Post, Post]{Path: "/two"}
