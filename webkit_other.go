//go:build !(linux && production && webkit2_41)

package main

// webSandbox is for builds without a window, which check code and generate bindings.
func webSandbox() string { return "this build has no window" }
