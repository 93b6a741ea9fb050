package pattern

import (
	"math"
	"strconv"
)

// key is a position in an ordered domain: a number or an address, mapped so that comparing keys compares what they stand for.
type key struct{ hi, lo uint64 }

func (k key) less(o key) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

func (k key) next() key {
	if k.lo++; k.lo == 0 {
		k.hi++
	}
	return k
}

func (k key) previous() key {
	if k.lo--; k.lo == math.MaxUint64 {
		k.hi--
	}
	return k
}

var (
	lowestNumber  = numberKey(-math.MaxFloat64)
	highestNumber = numberKey(math.MaxFloat64)
)

// numberKey maps a double that is neither NaN nor negative zero to a key in the order of the numbers.
func numberKey(f float64) key {
	b := math.Float64bits(f)
	if b>>63 != 0 {
		return key{lo: ^b}
	}
	return key{lo: b | 1<<63}
}

// comparableNumber returns the value of a JSON number that can be compared by value: one whose exact value is the shortest
// decimal of a double. 5, 5.0 and 50e-1 are the same such number; 9007199254740993, 0.10000000000000001 and 1e400 are not
// numbers of this kind, and are equal only to the same text.
func comparableNumber(text string) (float64, bool) {
	d, ok := parseDecimal(text)
	if !ok {
		return 0, false
	}
	if d.n == 0 {
		return 0, true
	}
	if d.exp < -350 || d.exp > 350 {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f == 0 {
		return 0, false
	}
	// Every decimal of up to 15 digits survives the way to a normal double and back.
	if d.n <= 15 && d.exp > -290 && d.exp < 290 {
		return f, true
	}
	var buf [32]byte
	s, ok := parseDecimal(strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
	return f, ok && s == d
}

// decimal is the number 0.d₁d₂…dₙ × 10^exp without its trailing zeros.
type decimal struct {
	digits   [17]byte
	n        int
	exp      int
	negative bool
}

// parseDecimal reads a JSON number; ok is false when it has more than 17 significant digits, which no shortest decimal of a
// double has. Zero is the decimal without digits.
func parseDecimal[T string | []byte](text T) (d decimal, ok bool) {
	i := 0
	if i < len(text) && text[i] == '-' {
		d.negative = true
		i++
	}
	zeros, point, exp := 0, false, 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			point = true
			continue
		}
		if c == 'e' || c == 'E' {
			break
		}
		switch {
		case c == '0' && d.n == 0:
			if point {
				exp--
			}
			continue
		case c == '0':
			zeros++
		default:
			if d.n+zeros >= len(d.digits) {
				return decimal{}, false
			}
			for ; zeros > 0; zeros-- {
				d.digits[d.n] = '0'
				d.n++
			}
			d.digits[d.n] = c
			d.n++
		}
		if !point {
			exp++
		}
	}
	if d.n == 0 {
		return decimal{}, true
	}
	if i < len(text) {
		i++
		negative, e := false, 0
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			negative = text[i] == '-'
			i++
		}
		for ; i < len(text); i++ {
			if e = e*10 + int(text[i]-'0'); e > 1<<30 {
				e = 1 << 30
			}
		}
		if negative {
			e = -e
		}
		exp += e
	}
	d.exp = exp
	return d, true
}

// number is the inverse of numberKey.
func (k key) number() float64 {
	if k.lo>>63 != 0 {
		return math.Float64frombits(k.lo &^ (1 << 63))
	}
	return math.Float64frombits(^k.lo)
}
