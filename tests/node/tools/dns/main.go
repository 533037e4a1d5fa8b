// CoreDNS with no more than a cluster needs.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/bind"
)

func main() { coremain.Run() }
