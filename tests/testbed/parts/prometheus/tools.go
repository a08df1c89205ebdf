//go:build tools

// Package prometheus names the programs, so that `go mod tidy` pins and checks everything they are
// built from.
package prometheus

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
