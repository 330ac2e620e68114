// Package browsers drives real browsers against package ws: Chromium by the DevTools protocol, and
// Firefox by WebDriver BiDi.
package browsers
