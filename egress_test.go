package berth_test

import (
	"testing"

	berth "github.com/berthhq/berth"
)

func TestLinkLocalAddressesAreRefused(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"127.0.0.1:80": true, "10.1.2.3:443": true, "[::1]:80": true, "[2001:db8::1]:80": true,
		"169.254.169.254:80": false, "[fe80::1]:80": false, "[fe80::1%eth0]:80": false, "[::ffff:169.254.169.254]:80": false, "nonsense": false,
	} {
		if err := berth.RefuseLinkLocal("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}
