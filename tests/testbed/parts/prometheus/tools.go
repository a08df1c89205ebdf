//go:build tools

// Package prometheus names the program, so that `go mod tidy` pins and checks everything it is
// built from.
package prometheus

import _ "github.com/prometheus/prometheus/cmd/prometheus"
