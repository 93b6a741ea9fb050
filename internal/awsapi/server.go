package awsapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/awsapi/eventbridge"
	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/sigv4"
	"vedette.dev/vedette/internal/awsapi/sns"
	"vedette.dev/vedette/internal/awsapi/wire"
)

const (
	defaultMaxBody = 4 << 20  // PutEvents takes 1 MB, SNS a message of 256 KiB, three times as long when form-encoded
	unsignedBody   = 64 << 10 // the few operations that need no signature take little
)

// Options is what New needs.
type Options struct {
	GuardDuty   guardduty.API   // nil: not served
	EventBridge eventbridge.API // nil: not served
	SNS         sns.API         // nil: not served

	Keys   sigv4.Keys // required
	Region string     // the region that signatures must name

	// Public answers requests that are none of the services', e.g. the pages behind the links in mails. Nil answers 404.
	Public http.Handler

	MaxBody    int64 // bytes of a request's body; 0 means 4 MiB
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
	Now        func() time.Time      // nil means time.Now
}

// Server is the handler of all three services. Make it with New.
type Server struct {
	guardduty, eventbridge, sns *wire.Service

	verifier sigv4.Verifier
	public   http.Handler
	maxBody  int64
	log      *slog.Logger
	metrics  *metrics
}

// New returns the handler. The server it is mounted in must bound headers and set time-outs.
func New(o Options) (*Server, error) {
	if o.Keys == nil || o.Region == "" {
		return nil, errors.New("awsapi: keys and region are required")
	}
	s := &Server{
		verifier: sigv4.Verifier{Keys: o.Keys, Region: o.Region, Now: o.Now},
		public:   o.Public,
		maxBody:  o.MaxBody,
		log:      o.Log,
		metrics:  newMetrics(o.Registerer),
	}
	if o.GuardDuty != nil {
		s.guardduty = guardduty.Service(o.GuardDuty)
	}
	if o.EventBridge != nil {
		s.eventbridge = eventbridge.Service(o.EventBridge)
	}
	if o.SNS != nil {
		s.sns = sns.Service(o.SNS)
	}
	if s.maxBody == 0 {
		s.maxBody = defaultMaxBody
	}
	if s.public == nil {
		s.public = http.NotFoundHandler()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Caller returns the access key that signed the request of an operation's context; "" means that nobody did.
func Caller(ctx context.Context) (accessKeyID string) {
	accessKeyID, _ = ctx.Value(callerKey{}).(string)
	return accessKeyID
}

type callerKey struct{}

// call is one request on its way.
type call struct {
	*http.Request

	service *wire.Service
	op      *wire.Operation
	labels  map[string]string // REST: the values in the path
	body    []byte
	form    wire.Form // Query
	id      string
	caller  string
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service := s.service(r)
	if service == nil {
		s.public.ServeHTTP(w, r)
		return
	}
	start := time.Now()
	c := &call{Request: r, service: service, id: newRequestID()}
	out, err := s.answer(c, w)
	code := ""
	if err != nil {
		e := c.describe(err)
		code = e.Code
		if e.HTTPStatus() >= 500 && r.Context().Err() == nil {
			s.log.Error("operation failed", "service", service.ID, "operation", c.operation(), "request", c.id, "error", err)
		} else {
			s.log.Debug("request refused", "service", service.ID, "operation", c.operation(), "request", c.id, "error", err)
		}
		c.writeError(w, e)
	} else {
		c.writeOutput(w, out)
	}
	s.metrics.observe(service.ID, c.operation(), code, time.Since(start))
}

// service tells whose request it is by its form alone: the JSON services name a target, GuardDuty has paths of its own, and
// Query requests go to the root. The signature's scope must name the same service, which is checked later.
func (s *Server) service(r *http.Request) *wire.Service {
	path := r.URL.EscapedPath()
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return s.eventbridge
	case s.guardduty != nil && s.guardduty.Owns(path):
		return s.guardduty
	case path != "/" && path != "":
		return nil
	case scopedTo(r, "events"):
		return s.eventbridge // and without a target: an unknown operation
	case r.Method == http.MethodPost, strings.Contains(r.URL.RawQuery, "Action="), r.Header.Get("Authorization") != "":
		return s.sns
	}
	return nil
}

func scopedTo(r *http.Request, service string) bool {
	return strings.Contains(r.Header.Get("Authorization"), "/"+service+"/aws4_request")
}

func (s *Server) answer(c *call, w http.ResponseWriter) (any, error) {
	if err := s.authenticate(c, w); err != nil {
		return nil, err
	}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	if c.caller == "" && !c.op.Anonymous {
		return nil, &sigv4.Error{Reason: sigv4.Missing, Message: "Request is missing Authentication Token"}
	}
	if c.op.Call == nil {
		return nil, wire.NotImplemented(c.op.Name)
	}
	tree, err := c.tree()
	if err != nil {
		return nil, err
	}
	in := c.op.New()
	if err := wire.Decode(c.op.Input, in, tree); err != nil {
		return nil, err
	}
	return s.run(c, in)
}

// authenticate reads the body and verifies the signature over it. It leaves the caller empty when there is no signature and
// the service has operations that need none.
func (s *Server) authenticate(c *call, w http.ResponseWriter) error {
	limit := s.maxBody
	claim, err := sigv4.Parse(c.Request)
	var refused *sigv4.Error
	switch {
	case err == nil:
		if err := s.verifier.Check(claim, c.service.SigningName, c.Request); err != nil {
			return err
		}
	case errors.As(err, &refused) && refused.Reason == sigv4.Missing && c.service == s.sns:
		limit = unsignedBody
	default:
		return err
	}
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, c.Body, limit)); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return wire.Errorf("RequestEntityTooLargeException", http.StatusRequestEntityTooLarge,
				"The request body is larger than %d bytes.", limit)
		}
		return wire.Errorf("RequestTimeoutException", http.StatusBadRequest, "The request body could not be read.")
	}
	if claim == nil {
		return nil
	}
	if err := s.verifier.Verify(claim, c.Request, c.body); err != nil {
		return err
	}
	c.caller = claim.AccessKeyID
	return nil
}

// resolve finds the operation.
func (c *call) resolve() error {
	switch c.service.Protocol {
	case wire.RESTJSON:
		op, labels, known := c.service.Route(c.Method, c.URL.EscapedPath())
		if op == nil {
			status := http.StatusNotFound
			if known {
				status = http.StatusMethodNotAllowed
			}
			return wire.Errorf("UnknownOperationException", status, "There is no operation %s %s.", c.Method, clip(c.URL.Path))
		}
		c.op, c.labels = op, labels
	case wire.JSON11:
		target := c.Header.Get("X-Amz-Target")
		name, ok := strings.CutPrefix(target, c.service.TargetPrefix)
		if op := c.service.Operation(name); ok && op != nil && c.Method == http.MethodPost {
			c.op = op
			break
		}
		return wire.Errorf("UnknownOperationException", http.StatusBadRequest, "There is no operation '%s'.", clip(target))
	case wire.Query:
		form, err := c.parameters()
		if err != nil {
			return err
		}
		c.form = form
		action, ok := c.form["Action"]
		if !ok {
			return wire.Errorf("MissingAction", http.StatusBadRequest, "The request does not name an Action.")
		}
		version, versioned := c.form["Version"]
		c.op = c.service.Operation(action)
		if c.op == nil || versioned && version != c.service.Version {
			c.op = nil
			return wire.Errorf("InvalidAction", http.StatusBadRequest, "Could not find operation %s for version %s",
				clip(action), clip(or(version, c.service.Version)))
		}
	}
	return nil
}

// parameters returns those of a Query request's body, and those of its query string that the body does not have.
func (c *call) parameters() (wire.Form, error) {
	text := c.URL.RawQuery
	if len(c.body) > 0 {
		kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
		if err != nil || kind != "application/x-www-form-urlencoded" {
			return nil, &wire.SerializationError{Message: "The request body must be application/x-www-form-urlencoded."}
		}
		text = string(c.body) + "&" + text
	}
	if c.Method != http.MethodPost && c.Method != http.MethodGet {
		return nil, &wire.SerializationError{Message: "The request must be a GET or a POST."}
	}
	return wire.ParseForm(text)
}

// tree returns the input in the form that wire.Decode takes.
func (c *call) tree() (map[string]any, error) {
	if c.service.Protocol == wire.Query {
		return wire.ParseQuery(c.op.Input, c.form)
	}
	tree, err := wire.ParseJSON(c.body)
	if err != nil || c.service.Protocol == wire.JSON11 {
		return tree, err
	}
	query := c.URL.Query()
	for i := range c.op.Input.Members {
		m := &c.op.Input.Members[i]
		if m.Location == wire.InBody {
			continue
		}
		delete(tree, m.Wire)
		switch m.Location {
		case wire.InPath:
			if value, ok := c.labels[m.Wire]; ok {
				tree[m.Wire] = wire.Text(value)
			}
		case wire.InHeader:
			if value := c.Header.Get(m.Wire); value != "" {
				tree[m.Wire] = wire.Text(value)
			}
		case wire.InQuery:
			values := query[m.Wire]
			switch {
			case len(values) == 0:
			case m.Shape.Kind == wire.List:
				list := make([]any, len(values))
				for i, value := range values {
					list[i] = wire.Text(value)
				}
				tree[m.Wire] = list
			default:
				tree[m.Wire] = wire.Text(values[0])
			}
		}
	}
	return tree, nil
}

// run calls the operation; its panic fails this request only.
func (s *Server) run(c *call, in any) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("operation panicked", "service", c.service.ID, "operation", c.op.Name, "request", c.id, "panic", p,
				"stack", string(debug.Stack()))
			out, err = nil, fmt.Errorf("panic in %s: %v", c.op.Name, p)
		}
	}()
	ctx := context.WithValue(c.Context(), callerKey{}, c.caller)
	return c.op.Call(ctx, in)
}

func (c *call) operation() string {
	if c.op == nil {
		return ""
	}
	return c.op.Name
}

// newRequestID returns a random UUID.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	if len(s) > 256 {
		return strings.ToValidUTF8(s[:256], "") + "…"
	}
	return s
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
