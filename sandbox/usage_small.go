//go:build small

package sandbox

// usage of a program that is built small reads only whether memory ran out.
func (g *group) usage() Usage { return Usage{OOM: g.outOfMemory()} }
