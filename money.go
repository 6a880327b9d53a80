package berth

import (
	"math"
	"math/bits"
)

// Nano is an amount of money: billionths of the unit of a currency, which always stands
// beside it. 9.2 billion units is the most.
type Nano int64

// AmountOf returns what a quantity comes to at a price for each per of it, rounded once,
// half up. Prices and quantities are never negative and per is above 0; [CodeInvalid] when
// they are, and when the amount is more than a [Nano] can say.
func AmountOf(price Nano, quantity, per int64) (Nano, error) {
	if price < 0 || quantity < 0 || per <= 0 {
		return 0, Errorf(CodeInvalid, "An amount needs a price and a quantity of 0 or more and a per above 0; there are %d, %d and %d.", price, quantity, per)
	}
	hi, lo := bits.Mul64(uint64(price), uint64(quantity))
	// Twice the product, plus per, over twice per: below 2^127 before it is divided.
	hi, lo = hi<<1|lo>>63, lo<<1
	lo, carry := bits.Add64(lo, uint64(per), 0)
	hi += carry
	divisor := uint64(per) << 1
	if hi >= divisor {
		return 0, errTooMuch()
	}
	amount, _ := bits.Div64(hi, lo, divisor)
	if amount > math.MaxInt64 {
		return 0, errTooMuch()
	}
	return Nano(amount), nil
}

// Plus returns the sum; [CodeInvalid] when it is more than a [Nano] can say.
func (n Nano) Plus(m Nano) (Nano, error) {
	sum := n + m
	if (sum > n) != (m > 0) && m != 0 {
		return 0, errTooMuch()
	}
	return sum, nil
}

func errTooMuch() error {
	return Errorf(CodeInvalid, "The amount is too large to be booked: %d is the most, in billionths of the currency.", int64(math.MaxInt64))
}
