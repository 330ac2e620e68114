// Package hostile attacks a server of package ws: with slow, huge, endless and broken input. It has tests only.
package hostile
