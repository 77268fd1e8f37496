//go:build linux && production && webkit2_41 && !e2e

package main

const automation = false
