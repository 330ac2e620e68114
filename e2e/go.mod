module github.com/seed412db446/ws/e2e

go 1.25.0

require github.com/seed412db446/ws v0.0.0

replace github.com/seed412db446/ws => ..
