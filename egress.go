package berth

import (
	"fmt"
	"net/netip"
	"syscall"
)

// RefuseLinkLocal refuses connections to link-local addresses, where clouds keep the
// secrets of a machine: no endpoint model may be aimed there (design 10). It is the
// Control of every dialer that leads to engines, so that a name is judged by what it
// resolves to.
func RefuseLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() {
		return fmt.Errorf("the address %s is link-local; endpoint models may not be aimed there", ip)
	}
	return nil
}
