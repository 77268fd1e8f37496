// Command cordon-cli is Cordon's command line; cordon hands over to it.
package main

import (
	"os"

	"cordon/app/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
