//go:build !(e2e && linux && production && webkit2_41)

package main

import "github.com/wailsapp/wails/v2/pkg/options/linux"

const (
	automation = false
	gpuPolicy  = linux.WebviewGpuPolicyNever
)
