package bus

import (
	"encoding/json"
	"testing"
	"time"
)

const transformEvent = `{"version":"0","id":"i-1","detail-type":"d","source":"s","account":"1","time":"2026-11-23T09:00:00Z","region":"r","resources":["a"],` +
	`"detail":{"command":"update","n":7,"big":12345678901234567890,"yes":true,"list":["ACTIVE","INACTIVE"],"payload":{"acc_id":"0a78","sf_id":"baz"},` +
	`"hostile":"a\",\"x\":\"b","lines":"one\ntwo","empty":"","objects":[{"k":1},{"k":2}],"a-b_c":"dash"}}`

func TestRender(t *testing.T) {
	o := occasion{json.RawMessage(transformEvent), "arn:rule", "rule", time.Date(2026, 11, 23, 9, 0, 1, 0, time.UTC)}
	path := func(p string) Target { return Target{InputPath: &p} }
	constant := `{"x": 1}`
	template := func(text string) Target {
		return Target{InputTransformer: &InputTransformer{InputTemplate: text, InputPathsMap: map[string]string{"command": "$.detail.command", "n": "$.detail.n", "big": "$.detail.big",
			"yes": "$.detail.yes", "list": "$.detail.list", "payload": "$.detail.payload", "hostile": "$.detail.hostile", "lines": "$.detail.lines", "none": "$.detail.none", "first": "$.detail.list[0]"}}}
	}
	for name, c := range map[string]struct {
		target Target
		want   string
		err    bool
	}{
		"whole event":         {Target{}, transformEvent, false},
		"constant":            {Target{Input: &constant}, constant, false},
		"path of a string":    {path("$.detail.command"), `"update"`, false},
		"path of a number":    {path("$.detail.big"), `12345678901234567890`, false},
		"path of an object":   {path("$.detail.payload"), `{"acc_id":"0a78","sf_id":"baz"}`, false},
		"path with an index":  {path("$.detail.list[1]"), `"INACTIVE"`, false},
		"path with a star":    {path("$.detail.objects[*].k"), `[1,2]`, false},
		"path of all members": {path("$.detail.payload.*"), `["0a78","baz"]`, false},
		"path with dashes":    {path("$.detail.a-b_c"), `"dash"`, false},
		"path in quotes":      {path("$.detail['a-b_c']"), `"dash"`, false},
		"path to nothing":     {path("$.detail.none"), `null`, false},
		"path of all":         {path("$"), transformEvent, false},

		"string":                  {template(`"Command is <command>!"`), `"Command is update!"`, false},
		"two strings":             {template("\"a <command>\"\n\"b <yes>\""), "\"a update\"\n\"b true\"", false},
		"number in a string":      {template(`"<n> and <big>"`), `"7 and 12345678901234567890"`, false},
		"object in a string":      {template(`"<payload>"`), `"{acc_id:0a78,sf_id:baz}"`, false},
		"array in a string":       {template(`"<list>"`), `"[ACTIVE,INACTIVE]"`, false},
		"missing in a string":     {template(`"[<none>]"`), `"[]"`, false},
		"values in JSON":          {template(`{"c": <command>, "n": <n>, "y": <yes>, "l": <list>, "p": <payload>}`), `{"c": "update", "n": 7, "y": true, "l": ["ACTIVE","INACTIVE"], "p": {"acc_id":"0a78","sf_id":"baz"}}`, false},
		"missing in JSON":         {template(`{"x": <none>}`), `{"x": ""}`, false},
		"quoted in JSON":          {template(`{"x": "c is <command>, <yes>, <none>."}`), `{"x": "c is update, true, ."}`, false},
		"quoted array in JSON":    {template(`{"x": "<list>"}`), "", true},
		"quoted object in JSON":   {template(`{"x": "<payload>"}`), "", true},
		"hostile string in JSON":  {template(`{"x": "<hostile>"}`), `{"x": "a\",\"x\":\"b"}`, false},
		"line end in JSON":        {template(`{"x": "<lines>"}`), `{"x": "one\ntwo"}`, false},
		"line end in a string":    {template(`"<lines>"`), "\"one\ntwo\"", false},
		"rule":                    {template(`"<aws.events.rule-name> <aws.events.rule-arn>"`), `"rule arn:rule"`, false},
		"ingestion time":          {template(`{"t": <aws.events.event.ingestion-time>}`), `{"t": "2026-11-23T09:00:01Z"}`, false},
		"event":                   {template(`{"e": <aws.events.event>}`), `{"e": {"id":"i-1","account":"1","detailType":"d","time":"2026-11-23T09:00:01Z","source":"s","region":"r","resources":["a"],"version":"0"}}`, false},
		"event with detail":       {template(`{"e": <aws.events.event.json>}`), `{"e": ` + transformEvent + `}`, false},
		"event alone":             {template(`<aws.events.event.json>`), transformEvent, false},
		"angle bracket":           {template(`"3 < 5 and <command>"`), `"3 < 5 and update"`, false},
		"escaped quote before it": {template(`{"x": "\"<command>\""}`), `{"x": "\"update\""}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkInput(c.target); err != nil {
				t.Fatalf("refused: %v", err)
			}
			got, err := render(&c.target, o)
			if string(got) != c.want || (err != nil) != c.err {
				t.Errorf("got  %s (%v)\nwant %s", got, err, c.want)
			}
		})
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`"Command is <v>!"`, "$.detail.x", `"a\"b"`)
	f.Add(`{"x": "<v>", "y": <v>}`, "$.detail.x[*]", `["\u0000",1]`)
	f.Add(`<v`, "$..", `{}`)
	f.Add("\"a\"\n<aws.events.event.json>", "$['x']", `{"y":[[[]]]}`)
	f.Fuzz(func(t *testing.T, template, path, value string) {
		if !json.Valid([]byte(value)) {
			return
		}
		target := Target{ID: "t", InputTransformer: &InputTransformer{InputTemplate: template, InputPathsMap: map[string]string{"v": path}}}
		if checkInput(target) != nil {
			return
		}
		out, err := render(&target, occasion{event: json.RawMessage(`{"detail":{"x":` + value + `}}`)})
		if err != nil {
			return
		}
		if len(template) > 0 && template[0] == '{' && !json.Valid(out) {
			t.Errorf("the template %q with %q gives %q, which is not JSON", template, value, out)
		}
	})
}

// FuzzHostileString checks that a string never changes a JSON template's other members.
func FuzzHostileString(f *testing.F) {
	f.Add(`a","level":"low`)
	f.Add("\x00\n\\")
	f.Fuzz(func(t *testing.T, s string) {
		value, err := encode(s)
		if err != nil {
			return
		}
		target := Target{InputTransformer: &InputTransformer{InputTemplate: `{"level": "high", "text": "<v>"}`, InputPathsMap: map[string]string{"v": "$.v"}}}
		out, err := render(&target, occasion{event: json.RawMessage(`{"v":` + string(value) + `}`)})
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		var text string
		json.Unmarshal(value, &text)
		want = map[string]string{"level": "high", "text": text}
		if len(got) != 2 || got["level"] != want["level"] || got["text"] != want["text"] {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
