// Package matrix holds the stacks that ws is tested behind: routers and
// middlewares as people run them, each around one echo route. The tests dial
// every stack with the plain engine, with ws, and with ws behind ws.Guard;
// the table in ../README.md is made from them.
package matrix
