package pattern

// Values returns the exact values that the pattern allows at a path, those of all its $or branches together, without
// repetition and in the order of writing. complete is false when the pattern may match an event with another value there, or
// with none: where another operator is used, where an IP literal stands for all its spellings, or where a branch does not
// name the path.
func (p *Pattern) Values(path string) (exact []Value, complete bool) {
	complete = true
	seen := map[Value]bool{}
	for _, c := range p.conjunctions {
		named := false
		for _, f := range c {
			if f.path != path {
				continue
			}
			named = true
			for i := range f.alternatives {
				v, ok := f.alternatives[i].exact()
				if !ok {
					complete = false
				} else if !seen[v] {
					seen[v] = true
					exact = append(exact, v)
				}
				if f.alternatives[i].op == opAddress {
					complete = false
				}
			}
		}
		complete = complete && named
	}
	return exact, complete
}

// exact returns the value that an alternative asks for.
func (a *alternative) exact() (Value, bool) {
	switch a.op {
	case opExact:
		return StringValue(a.text), true
	case opAddress:
		return StringValue(a.text), a.text != ""
	case opNumber:
		return NumberValue(a.lo.number()), true
	case opLiteral:
		return Value{Kind: Number, Str: a.text}, true
	case opNull:
		return Value{}, true
	case opTrue:
		return BoolValue(true), true
	case opFalse:
		return BoolValue(false), true
	}
	return Value{}, false
}
