// Command cordon-launch confines itself and then becomes a program it was told to start. It is run by package sandbox
// only; package confine says how.
package main

import "cordon/sandbox/confine"

func main() { confine.Main() }
