//go:build !(e2e && linux && production && webkit2_41)

package main

const automation = false
