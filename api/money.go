package api

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// nanoPerUnit is how many of the API's units of money are one of the currency.
const nanoPerUnit = 1_000_000_000

// minorDigits are the decimals of currencies that have not two of them (ISO 4217).
var minorDigits = func() map[string]int {
	digits := map[string]int{"CLF": 4, "UYW": 4}
	for _, code := range strings.Fields("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF") {
		digits[code] = 0
	}
	for _, code := range strings.Fields("BHD IQD JOD KWD LYD OMR TND") {
		digits[code] = 3
	}
	return digits
}()

// FormatAmount writes billionths of a currency for people, exactly: 1,234.50 of CNY, with
// the decimals that the currency has and more only where there are more.
func FormatAmount(nano int64, currency string) string {
	least, ok := minorDigits[currency]
	if !ok {
		least = 2
	}
	whole, rest := nano/nanoPerUnit, nano%nanoPerUnit
	sign := ""
	if nano < 0 {
		sign, whole, rest = "-", -whole, -rest
	}
	decimals := fmt.Sprintf("%09d", rest)
	for len(decimals) > least && decimals[len(decimals)-1] == '0' {
		decimals = decimals[:len(decimals)-1]
	}
	text := FormatCount(whole)
	if decimals != "" {
		text += "." + decimals
	}
	return sign + text
}

// FormatCount groups the digits of a number for people: 1,234,567.
func FormatCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(digits) - 3; i > first; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ParseAmount reads what people write of a currency, such as 54, 0.48 or 1,234.50, as
// billionths of it. It is exact: more than nine decimals are an error.
func ParseAmount(text string) (int64, error) {
	wrong := func() (int64, error) {
		return 0, fmt.Errorf("%q is no amount of money; write one such as 54 or 1234.50, with at most nine decimals", text)
	}
	digits, negative := strings.CutPrefix(text, "-")
	whole, decimals, point := strings.Cut(digits, ".")
	whole = strings.ReplaceAll(whole, ",", "")
	if whole == "" || point && decimals == "" || len(decimals) > 9 || strings.Trim(whole+decimals, "0123456789") != "" {
		return wrong()
	}
	nano, err := strconv.ParseInt(whole+decimals+strings.Repeat("0", 9-len(decimals)), 10, 64)
	if err != nil || nano == math.MinInt64 {
		return wrong()
	}
	if negative {
		nano = -nano
	}
	return nano, nil
}
