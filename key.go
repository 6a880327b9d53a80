package berth

import "time"

// Role is what a key may do, each role including the ones before it (design 10).
type Role string

// The roles, from the narrowest to the widest.
const (
	RoleInference Role = "inference" // calls models, reads its workspace's deployments and its own usage
	RoleAdmin     Role = "admin"     // everything inside its workspace
	RoleOwner     Role = "owner"     // everything on the server
)

func (r Role) rank() int {
	switch r {
	case RoleInference:
		return 1
	case RoleAdmin:
		return 2
	case RoleOwner:
		return 3
	}
	return 0
}

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r.rank() > 0 }

// KeyHash is the HMAC-SHA-256 of a key's text under the server's pepper. The text
// itself is shown once and never stored.
type KeyHash [32]byte

// Key is the right of somebody who knows its text to act in a workspace.
type Key struct {
	ID          string // key_ + UUIDv7
	WorkspaceID string
	Role        Role
	Name        string // for people, at most 50 characters
	Hash        KeyHash
	Hint        string // safe display form, such as "sk-abc…wxyz"
	// Deployments, when not empty, are the inner ids of the only deployments that the
	// key may call.
	Deployments []string
	// ParentID is the key that a temporary token was made with, whose permissions it has
	// and with which it dies; "" for keys that stand alone (api.md 2.2).
	ParentID  string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
}

// Live reports whether the key may be used at now.
func (k *Key) Live(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// Account is who pays.
type Account struct {
	ID       string // digits, as the contract's creator and modifier fields are account UIDs (api.md 2.2)
	Name     string
	Currency string // ISO 4217
	TimeZone string // IANA name; days and months of statements are its days and months
	// Later are the currencies that follow the first one, in order of time: from each
	// moment on what is used is charged in that currency.
	Later []CurrencyFrom
	// Prepaid accounts spend what they have paid; others owe, up to CreditLimit.
	Prepaid     bool
	CreditLimit *Nano // in the account's currency; nil: none (post-paid only)
	Arrears     Arrears
}

// CurrencyFrom is the currency of an account from a moment on.
type CurrencyFrom struct {
	From     time.Time `json:"from"`
	Currency string    `json:"currency"`
}

// CurrencyAt returns the currency that holds at a moment.
func (a *Account) CurrencyAt(at time.Time) string {
	currency := a.Currency
	for _, l := range a.Later {
		if !l.From.After(at) {
			currency = l.Currency
		}
	}
	return currency
}
