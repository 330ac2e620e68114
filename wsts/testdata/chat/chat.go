// Package chat is imported by both ends.
package chat

import (
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

const prefix = "/rooms/"

// Post is what a page sends.
type Post struct {
	// ID is the page's own number of the message.
	ID   int64  `json:"id"`
	Text string `json:"text"`
	Mood Mood   `json:"mood,omitempty"`
}

// Note is what everybody sees.
type Note struct {
	Post
	From string    `json:"from"`
	At   time.Time `json:"at"`
	Tags []string  `json:"tags"`
	Pic  []byte    `json:"pic,omitempty"`
}

// Mood is one of a few.
type Mood string

// The moods.
const (
	Happy Mood = "happy"
	Sad   Mood = "sad"
)

// Chat is a room.
var Chat = ws.Route[Post, Note]{Path: prefix + "{room}/ws"}

// Codes with which the server closes.
const (
	// StatusKicked says that a moderator closed the connection.
	StatusKicked websocket.StatusCode = 4001
	// StatusToken says that the token is not valid any more.
	StatusToken websocket.StatusCode = 4401
)

// Command is what a player does.
type Command interface{ command() }

// Move is a command.
type Move struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// Say is a command.
type Say struct {
	Text string `json:"text"`
}

// Event is what happens in the game.
type Event interface{ event() }

// Moved is an event.
type Moved struct {
	Who string `json:"who"`
	X   int    `json:"x"`
	Y   int    `json:"y"`
}

// Said is an event.
type Said struct {
	Who  string `json:"who"`
	Text string `json:"text"`
}

// Left is an event.
type Left struct{}

func (Move) command() {}
func (Say) command()  {}
func (Moved) event()  {}
func (Said) event()   {}
func (Left) event()   {}

// Game has messages of many kinds.
var Game = ws.Route[Command, Event]{
	Path:  "/games/{id}/{rest...}",
	Codec: ws.Tagged("type", Move{}, Say{}, Moved{}, Said{}, Left{}),
}
