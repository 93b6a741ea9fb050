package pattern

// wildcardLimit is how many beginnings of one wildcard may be alive at once, over all inputs. AWS does not publish its own
// limit; it rejects "*:*:*:*:*:event-bus/*", of which 10 can be alive, and documents the use of fewer stars as the remedy.
const wildcardLimit = 10

// maxWildcardSets bounds the work of judging all the wildcards of a pattern.
const maxWildcardSets = 20000

// wildcardTooComplex reports whether some input keeps wildcardLimit beginnings of the wildcard alive. A beginning is a
// number of characters and stars that has been matched; a star stays alive for good once it is reached. It explores the sets of
// live positions breadth first, a bounded number of them: a wildcard that needs more is accepted, and costs time in
// proportion to the positions that are really alive. budget is how many sets the whole pattern may have explored.
func wildcardTooComplex(g glob, budget *int) bool {
	if len(g) == 1 || (len(g) == 2 && (g[0] == "" || g[1] == "")) {
		return false // no star, or one at an end: that needs no positions
	}
	// The positions of the glob as an automaton: byte i moves from i to i+1; star[i] says that position i loops.
	var bytes []byte
	star := map[int]bool{}
	for i, piece := range g {
		if i > 0 {
			star[len(bytes)] = true
		}
		bytes = append(bytes, piece...)
	}
	type set = string // sorted positions, two bytes each
	encode := func(positions []int) set {
		b := make([]byte, 0, 2*len(positions))
		for _, p := range positions {
			b = append(b, byte(p>>8), byte(p))
		}
		return set(b)
	}
	const maxSets = 2000 // for one wildcard
	queue := [][]int{{0}}
	seen := map[set]bool{encode(queue[0]): true}
	for len(queue) > 0 && len(seen) < maxSets && *budget > 0 {
		*budget--
		current := queue[0]
		queue = queue[1:]
		alive := 0
		next := map[byte]bool{}
		for _, p := range current {
			alive++
			if star[p] && p > 0 {
				alive++ // the text before the star and the star
			}
			if p < len(bytes) {
				next[bytes[p]] = true
			}
		}
		if alive >= wildcardLimit {
			return true
		}
		for c := range next {
			var to []int
			for _, p := range current {
				if star[p] && (len(to) == 0 || to[len(to)-1] != p) {
					to = append(to, p)
				}
				if p < len(bytes) && bytes[p] == c {
					to = append(to, p+1)
				}
			}
			if key := encode(to); !seen[key] {
				seen[key] = true
				queue = append(queue, to)
			}
		}
	}
	return false
}
