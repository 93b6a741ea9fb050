package sns

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"

	"vedette.dev/vedette/internal/pattern"
)

// The scopes of a filter policy.
const (
	scopeAttributes = "MessageAttributes"
	scopeBody       = "MessageBody"
)

const (
	maxFilterKeys         = 5
	maxFilterCombinations = 150
	maxFilterBytes        = 256 << 10
)

// checkFilter reports what is wrong with a filter policy.
func checkFilter(policy, scope string) error {
	if len(policy) > maxFilterBytes {
		return invalid("FilterPolicy: Filter policy is too complex")
	}
	dec := json.NewDecoder(strings.NewReader(policy))
	dec.UseNumber()
	var tree map[string]any
	if err := dec.Decode(&tree); err != nil || !json.Valid([]byte(policy)) {
		return invalid("FilterPolicy: failed to parse JSON. %v", err)
	}
	keys, combinations, nested := complexity(tree, 1)
	if nested && scope != scopeBody {
		return invalid("Filter policy scope MessageAttributes does not support nested filter policy")
	}
	if _, err := pattern.Parse([]byte(policy)); err != nil {
		return invalid("FilterPolicy: %s", err)
	}
	if keys > maxFilterKeys {
		return invalid("FilterPolicy: Filter policy can not have more than 5 keys")
	}
	if combinations > maxFilterCombinations {
		return invalid("FilterPolicy: Filter policy is too complex")
	}
	return nil
}

// complexity returns the number of a policy's leaf keys, the product of the numbers of their values times their depth, and
// whether it nests.
func complexity(tree map[string]any, depth int) (keys, product int, nested bool) {
	product = 1
	for name, v := range tree {
		switch v := v.(type) {
		case map[string]any:
			k, p, _ := complexity(v, depth+1)
			keys += k
			product = min(product*p, 1<<30)
			nested = true
		case []any:
			if name == "$or" {
				nested = nested || depth > 1
				alternatives := 0
				for _, a := range v {
					if m, ok := a.(map[string]any); ok {
						k, p, n := complexity(m, depth)
						keys = max(keys, k)
						alternatives += p
						nested = nested || n
					}
				}
				product = min(product*max(alternatives, 1), 1<<30)
				continue
			}
			keys++
			product = min(product*max(len(v), 1)*depth, 1<<30)
		default:
			keys++
		}
	}
	return keys, product, nested
}

// filters caches compiled policies by their text.
type filters struct {
	mu   sync.Mutex
	sets map[string]*pattern.Set
}

const maxCachedFilters = 1000

// pass reports whether a message passes a subscription's filter policy. A policy that does not compile lets nothing pass.
func (f *filters) pass(sub *Subscription, m *Message) bool {
	policy := sub.Attributes["FilterPolicy"]
	if policy == "" {
		return true
	}
	set := f.compiled(policy)
	if set == nil {
		return false
	}
	var document []byte
	if sub.Attributes["FilterPolicyScope"] == scopeBody {
		document = []byte(m.Message)
		if !isJSONObject(m.Message) {
			return false
		}
	} else {
		document = attributesDocument(m.Attributes)
	}
	ids, err := set.NewMatcher().MatchJSON(nil, document)
	return err == nil && len(ids) > 0
}

func (f *filters) compiled(policy string) *pattern.Set {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.sets[policy]; ok {
		return s
	}
	p, err := pattern.Parse([]byte(policy))
	if err != nil {
		return nil
	}
	s := pattern.Compile([]*pattern.Pattern{p})
	if f.sets == nil || len(f.sets) >= maxCachedFilters {
		f.sets = map[string]*pattern.Set{}
	}
	f.sets[policy] = s
	return s
}

// attributesDocument is a message's attributes as the JSON object that filter policies see.
func attributesDocument(attributes map[string]Attribute) []byte {
	members := map[string]json.RawMessage{}
	for name, a := range attributes {
		kind, _, _ := strings.Cut(a.Type, ".")
		switch {
		case a.Type == "String.Array" && json.Valid([]byte(a.Value)) && strings.HasPrefix(strings.TrimSpace(a.Value), "["):
			members[name] = json.RawMessage(a.Value)
		case kind == "Number" && json.Valid([]byte(a.Value)):
			members[name] = json.RawMessage(a.Value)
		case kind == "String", kind == "Number":
			members[name] = quote(a.Value)
		}
	}
	text, err := encode(members)
	if err != nil {
		return []byte("{}")
	}
	return text
}

// encode is json.Marshal without the escapes that only HTML needs.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func quote(s string) json.RawMessage {
	text, err := encode(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return text
}
